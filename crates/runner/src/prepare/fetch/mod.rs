//! Fetches the wheels that requirements name by their addresses, before uv runs: uv would follow a redirect to any host.
//!
//! uv gets each wheel in a folder, as the one version of its package with the one hash. It then takes nothing that such a
//! wheel names by an address itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use hybrid_cache_model::protocol::PythonTools;
use hybrid_cache_model::requirement::Reference;
use hybrid_cache_model::{Failure, FailureKind, Requirement};
use serde::Deserialize;

use super::context::PrepareJob;
use crate::child;
use crate::python::uv::{BuiltWheel, without_logins};
use crate::python::{PythonVolume, may_apply};
use crate::store::failure::disk_full;
use crate::store::stage::Stage;
use crate::store::{IoContext, files, sha256};

const PROGRAM: &str = include_str!("program.py");
/// Most bytes of all wheels that are fetched for one task.
const MAX_TASK_BYTES: u64 = 8 << 30;

/// The wheels of one task that were fetched; their files are deleted with it.
pub struct Fetched {
    /// The wheels.
    pub wheels: Vec<BuiltWheel>,
    _stage: Option<Stage>,
}

/// What the program says when it fails.
#[derive(Deserialize)]
struct Fault {
    kind: String,
    message: String,
}

/// Fetches every wheel that a requirement of the task names and whose marker holds.
///
/// # Errors
/// A server does not give it, leads to a host that is not allowed, or gives another file than the hashes demand.
pub fn wheels(job: &PrepareJob<'_>, volume: &PythonVolume, tools: &PythonTools) -> Result<Fetched, Failure> {
    let mut fetched = Fetched {
        wheels: Vec::new(),
        _stage: None,
    };
    let mut left = MAX_TASK_BYTES;
    for requirement in &job.task.requirements {
        let Some(Reference::Wheel { url, version, .. }) = requirement.reference() else {
            continue;
        };
        if !may_apply(requirement, &job.request.context.interpreter) {
            continue;
        }
        check_alone(requirement, &fetched.wheels, &url)?;
        let stage = match &mut fetched._stage {
            Some(stage) => stage,
            none => none.insert(Stage::create(&volume.staging())?),
        };
        let folder = stage.path().join(fetched.wheels.len().to_string());
        files::ensure_folder(&folder)?;
        let file = fetch(job, tools, requirement, &url, &folder, left)?;
        left = left.saturating_sub(file.metadata().io_context("look at", &file)?.len());
        let hash = format!("sha256:{}", sha256::of_file(&file).io_context("read", &file)?);
        fetched.wheels.push(BuiltWheel {
            name: requirement.name().to_owned(),
            version,
            source: hash.clone(),
            hash,
            folder,
            address: Some(url),
        });
    }
    Ok(fetched)
}

/// Refuses two addresses for one package.
fn check_alone(requirement: &Requirement, before: &[BuiltWheel], url: &str) -> Result<(), Failure> {
    let other = before.iter().find(|one| one.name == requirement.name());
    match other
        .and_then(|one| one.address.as_deref())
        .filter(|other| *other != url)
    {
        None => Ok(()),
        Some(other) => {
            let message = format!("{} is named by two addresses: {other} and {url}", requirement.name());
            Err(Failure::new(FailureKind::Unsatisfiable, message).hint("keep one of them"))
        }
    }
}

fn fetch(
    job: &PrepareJob<'_>,
    tools: &PythonTools,
    requirement: &Requirement,
    url: &str,
    folder: &Path,
    max_bytes: u64,
) -> Result<PathBuf, Failure> {
    let name = url
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .replace("%2B", "+")
        .replace("%2b", "+");
    let hashes: Vec<&str> = job.task.options.hashes_of(requirement.as_str()).collect();
    let order = serde_json::json!({
        "url": url,
        "file": name,
        "hosts": job.request.context.sources.wheel_hosts,
        "hashes": hashes,
        "bytes": max_bytes,
    });
    let mut command = Command::new(&job.request.context.interpreter.path);
    command
        .args(["-I", "-S", "-c", PROGRAM])
        .current_dir(folder)
        .env_clear();
    command.env("LC_ALL", "C.UTF-8");
    command.envs(
        tools
            .variables
            .iter()
            .filter(|(name, _)| is_of_network(name))
            .map(|(name, value)| (name, value)),
    );
    let what = format!("fetching {url}");
    let exit = child::run(&mut command, &what, order.to_string().into_bytes(), &job.deadline)?;
    if exit.status.success() {
        return Ok(folder.join(name));
    }
    let said = without_logins(&exit.stderr);
    let fault = said
        .lines()
        .last()
        .and_then(|line| serde_json::from_str::<Fault>(line).ok());
    Err(match fault {
        Some(fault) => explained(&what, &fault),
        None => Failure::new(
            FailureKind::Tool,
            format!("{what} ended with {}: {}", exit.describe(), said.trim()),
        ),
    })
}

/// Certificates and proxies; nothing of uv's, among which are passwords.
fn is_of_network(name: &str) -> bool {
    name.starts_with("SSL_CERT_") || name.to_ascii_uppercase().ends_with("_PROXY")
}

fn explained(what: &str, fault: &Fault) -> Failure {
    let message = format!("{what} failed: {}", fault.message);
    let (kind, hint) = match fault.kind.as_str() {
        "full" => return disk_full(message),
        "large" => {
            let message = format!(
                "{what} failed: the wheels that the task names by their addresses have more than {} GiB together",
                MAX_TASK_BYTES >> 30
            );
            return Failure::new(FailureKind::Unsatisfiable, message).hint("name fewer of them in one task");
        }
        "hash" => (
            FailureKind::Unsatisfiable,
            "give the hash of this file, from a source that you trust",
        ),
        "redirect" => (
            FailureKind::UnknownPackage,
            "give the address that it leads to; the operator can add its host to `wheelHosts` in the settings file",
        ),
        "proxy" => (
            FailureKind::Tool,
            "the operator can name a proxy with an address of `http://` in HTTPS_PROXY, or the host in NO_PROXY",
        ),
        "offline" => (
            FailureKind::Offline,
            "check the proxy, the certificates and the network policy of the preparing sandbox",
        ),
        _ => (FailureKind::UnknownPackage, "check the address"),
    };
    Failure::new(kind, message).hint(hint)
}
