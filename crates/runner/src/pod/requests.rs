//! Reads the requests of a pod from files, and adds the image's tools.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use hybrid_cache_model::pod::{
    IMAGE_FILE, ImageRecord, NetworkSettings, POD_PROTOCOL_VERSION, PodRequest, REQUEST_FILE, SCRATCH_FOLDER,
};
use hybrid_cache_model::protocol::{
    EnvironmentContext, Environments, PackageSource, PrepareRequest, PythonTools, RunRequest, SystemTools,
};
use hybrid_cache_model::{Failure, FailureKind, Tenant};
use serde::de::DeserializeOwned;

use crate::store::IoContext;

/// A request is a Secret, which Kubernetes bounds at a mebibyte; an image record is far smaller.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Reads the image's record and the request.
pub fn read_both<T: DeserializeOwned>(protocol: impl Fn(&T) -> u32) -> Result<(ImageRecord, T), Failure> {
    let image: ImageRecord = read(Path::new(IMAGE_FILE))?;
    let request: T = read(Path::new(REQUEST_FILE))?;
    for (what, version) in [("the image", image.protocol), ("the driver", protocol(&request))] {
        if version != POD_PROTOCOL_VERSION {
            let message = format!(
                "{what} uses version {version} of the pod protocol, but this runner uses {POD_PROTOCOL_VERSION}"
            );
            return Err(Failure::new(FailureKind::Internal, message)
                .hint("rebuild the image: `cargo xtask image`, then `cargo xtask up`"));
        }
    }
    Ok((image, request))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let mut text = Vec::new();
    let file = File::open(path).io_context("open", path)?;
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut text)
        .io_context("read", path)?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(FailureKind::Internal, format!("{}: {error}", path.display()))
            .hint("image and driver must be of the same version: `cargo xtask image`, then `cargo xtask up`")
    })
}

fn context(image: &ImageRecord, request: &PodRequest) -> EnvironmentContext {
    EnvironmentContext {
        volumes: request.volumes.clone(),
        interpreter: image.interpreter.clone(),
        index: request.network.index.clone(),
        system_source: source_id(image),
        max_age_s: request.max_age_s,
        tenant: request.tenant.clone(),
        index_scope: request.network.index_scope,
        no_builds: request.network.no_builds,
    }
}

pub fn source_id(image: &ImageRecord) -> String {
    image
        .system
        .as_ref()
        .map(|system| system.source_id.clone())
        .unwrap_or_default()
}

pub fn run_request(image: &ImageRecord, request: &PodRequest, environments: Environments) -> RunRequest {
    RunRequest {
        task: request.task.clone(),
        context: context(image, request),
        environments,
        accept_stale: request.accept_stale,
        limits: request.limits.clone(),
        // The pod already runs as the right user.
        identity: None,
        scratch: SCRATCH_FOLDER.to_owned(),
        base_path: image.base_path.clone(),
        require_landlock: request.tenant != Tenant::default(),
        variables: request.variables.clone(),
        readable: Vec::new(),
    }
}

pub fn prepare_request(image: &ImageRecord, request: &PodRequest) -> PrepareRequest {
    PrepareRequest {
        task: request.task.clone(),
        context: context(image, request),
        keep: request.keep,
        python_tools: Some(python_tools(image, &request.network)),
        system_tools: system_tools(image, &request.network),
        deadline_ms: request.prepare_ms,
        budgets: request.budgets,
        describe: request.describe,
        builds: None,
    }
}

pub fn python_tools(image: &ImageRecord, network: &NetworkSettings) -> PythonTools {
    PythonTools {
        uv: image.uv.clone(),
        variables: network.python_variables.clone(),
        allow_source_builds: false,
    }
}

/// The image's Nix with the mirrors and variables of the cluster it is used in.
pub fn system_tools(image: &ImageRecord, network: &NetworkSettings) -> Option<SystemTools> {
    let mut tools = image.system.as_ref()?.tools.clone();
    tools.variables.extend(network.system_variables.iter().cloned());
    if let PackageSource::Debnix { mirrors, .. } = &mut tools.source {
        mirrors.clone_from(&network.mirrors);
    }
    Some(tools)
}
