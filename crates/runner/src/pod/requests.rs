//! Reads the requests of a pod from files, and adds the image's tools.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use hybrid_cache_model::pod::{
    IMAGE_FILE, ImageRecord, NetworkSettings, POD_PROTOCOL_VERSION, PodRequest, REQUEST_FILE, SCRATCH_FOLDER,
};
use hybrid_cache_model::protocol::{
    BuildSettings, EnvironmentContext, Environments, PackageSource, PrepareRequest, PythonTools, RunRequest,
    SystemTools,
};
use hybrid_cache_model::{Failure, FailureKind, TaskErrors, TaskSpec, Tenant, python_version};
use serde::de::DeserializeOwned;

use crate::store::IoContext;

/// A request is a Secret, which Kubernetes bounds at a mebibyte; an image record is far smaller.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Where the preparing container puts what builds leave, in a folder of its own.
pub const BUILT_FOLDER: &str = "/scratch/builds";

/// Reads the image's record.
pub fn read_image() -> Result<ImageRecord, Failure> {
    let image: ImageRecord = read(Path::new(IMAGE_FILE))?;
    check_version("the image", image.protocol)?;
    Ok(image)
}

/// Reads the image's record and the request.
pub fn read_both<T: DeserializeOwned>(protocol: impl Fn(&T) -> u32) -> Result<(ImageRecord, T), Failure> {
    let image = read_image()?;
    let request: T = read(Path::new(REQUEST_FILE))?;
    check_version("the driver", protocol(&request))?;
    Ok((image, request))
}

/// Checks that the image, or the driver, uses this runner's version of the protocol.
pub fn check_version(what: &str, version: u32) -> Result<(), Failure> {
    if version == POD_PROTOCOL_VERSION {
        return Ok(());
    }
    let message =
        format!("{what} uses version {version} of the pod protocol, but this runner uses {POD_PROTOCOL_VERSION}");
    Err(Failure::new(FailureKind::Internal, message)
        .hint("rebuild the image: `cargo xtask image`, then `cargo xtask up`"))
}

/// Reads the image's record and the request of a task, with the interpreter that the task asks for as the image's own.
pub fn read_for_task() -> Result<(ImageRecord, PodRequest), Failure> {
    let (image, request) = read_both::<PodRequest>(|request| request.protocol)?;
    let image = for_task(image, &request.task)?;
    Ok((image, request))
}

/// The image with the interpreter that the task asks for as its own.
pub fn for_task(mut image: ImageRecord, task: &TaskSpec) -> Result<ImageRecord, Failure> {
    let task = task.check()?;
    let offered = std::iter::once(&image.interpreter).chain(&image.other_interpreters);
    let offered: Vec<&str> = offered.map(|one| one.version.as_str()).collect();
    let chosen = python_version::choose(task.python.as_ref(), &task.requires_python, &offered);
    let chosen = chosen.map_err(|error| not_on_offer(error.into()))?;
    if let Some(other) = chosen
        .checked_sub(1)
        .and_then(|other| image.other_interpreters.get_mut(other))
    {
        std::mem::swap(&mut image.interpreter, other);
    }
    Ok(image)
}

/// The refusal, with what whoever made the image can do.
fn not_on_offer(errors: TaskErrors) -> Failure {
    let can_be_added = python_version::missing(&errors).is_some();
    let mut failure = Failure::from(errors);
    if can_be_added {
        let more = "`pythonVersions` of an operator's settings adds others to the image";
        failure.hint = Some(
            failure
                .hint
                .map_or_else(|| more.to_owned(), |hint| format!("{hint}; {more}")),
        );
    }
    failure
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
        sources: request.network.sources.clone(),
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
        other_pythons: image
            .other_interpreters
            .iter()
            .map(|other| other.version.clone())
            .collect(),
        describe: request.describe,
        builds: request.builds.then(|| BuildSettings {
            folder: BUILT_FOLDER.to_owned(),
            network: "cluster".to_owned(),
        }),
    }
}

pub fn python_tools(image: &ImageRecord, network: &NetworkSettings) -> PythonTools {
    PythonTools {
        uv: image.uv.clone(),
        variables: network.python_variables.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use hybrid_cache_model::protocol::{Identity, Interpreter};

    fn interpreter(version: &str) -> Interpreter {
        Interpreter {
            path: format!("/usr/bin/python{version}"),
            implementation: "cpython".into(),
            version: version.into(),
            abi: String::new(),
            platform: String::new(),
            libc: String::new(),
            binary_hash: String::new(),
            start: String::new(),
        }
    }

    #[test]
    fn a_task_gets_the_interpreter_of_the_image_that_it_asks_for() {
        let image = ImageRecord {
            protocol: POD_PROTOCOL_VERSION,
            interpreter: interpreter("3.11.2"),
            other_interpreters: vec![interpreter("3.12.1")],
            uv: String::new(),
            system: None,
            base_path: String::new(),
            identity: Identity { uid: 1, gid: 1 },
        };
        let asking = |version: &str| {
            let task = TaskSpec {
                python_version: version.to_owned(),
                ..TaskSpec::new("1")
            };
            for_task(image.clone(), &task)
        };
        assert_eq!(asking("").unwrap(), image);
        let other = asking("3.12").unwrap();
        assert_eq!(other.interpreter.version, "3.12.1");
        assert_eq!(other.other_interpreters, [interpreter("3.11.2")]);
        let failure = asking("3.13").unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidTask);
        assert!(
            failure
                .to_string()
                .contains("3.11.2 (the default), 3.12.1; `pythonVersions`"),
            "{failure}"
        );
        // An image of an older version names one interpreter.
        let mut old = serde_json::to_value(&image).unwrap();
        old.as_object_mut().unwrap().remove("other_interpreters");
        let old: ImageRecord = serde_json::from_value(old).unwrap();
        assert!(old.other_interpreters.is_empty());
    }
}
