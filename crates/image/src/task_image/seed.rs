//! `image --warm`: the image with filled caches in it, which empty volumes are given when they are prepared.
//!
//! The tasks' packages are prepared in a container of the image itself, by its own runner, with this machine's settings of
//! the network: what is found later is what was asked for now. The request and the caches lie on volumes of that
//! container, so that no address with a password in it gets into a layer; only the packed caches do.

use std::time::Duration;

use hybrid_cache_driver::local::config::DEFAULT_MAX_AGE_S;
use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::pod::{
    NIX_MOUNT, POD_PROTOCOL_VERSION, PYTHON_MOUNT, PodMaintainReport, REQUEST_FILE, SEED_FOLDER, SeedRequest,
};
use hybrid_cache_tools::{Checkout, Error, ErrorContext, Progress, Result, certificates, failed, network_settings};
use tar::{Builder, EntryType, Header};

use super::build::{RAW, Rebuild, load_normal, present};
use super::build_records::{self, Built, ImageBuildDir};
use super::contents;
use super::recipe::REPOSITORY;
use crate::docker::{Engine, Executed, OneShotContainer};

/// Longest time to prepare the packages of one task.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(900);
/// Longest time to pack the prepared caches.
const PACK_TIMEOUT: Duration = Duration::from_secs(600);
/// Name of the image before its own is known.
const UNNAMED: &str = "hybrid-cache-image-seeded:latest";
/// Where the runner of the image looks for certificates.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Packages that an image brings along.
pub struct Seed {
    tasks: Vec<TaskSpec>,
}

impl Seed {
    /// Each list is what one task would ask for. `None` if both are empty.
    ///
    /// # Errors
    /// A list is not acceptable.
    pub fn new(warm: &[String], warm_system: &[String]) -> Result<Option<Seed>> {
        let python = warm.iter().map(|list| TaskSpec {
            dependencies: list.clone(),
            ..TaskSpec::new("pass")
        });
        let system = warm_system.iter().map(|list| TaskSpec {
            system_dependencies: list.clone(),
            ..TaskSpec::new("pass")
        });
        let tasks: Vec<TaskSpec> = python.chain(system).collect();
        for task in &tasks {
            let checked = task.check().map_err(|error| Error::input(error.to_string()))?;
            if checked.requirements.is_empty() && checked.system.is_empty() {
                return Err(Error::input(
                    "a list of --warm or --warm-system names no package\nhint: such as numpy,pandas",
                ));
            }
        }
        Ok((!tasks.is_empty()).then_some(Seed { tasks }))
    }
}

/// The image `plain` with a seed, built if it does not exist yet.
///
/// # Errors
/// A package is not available, or the engine goes away.
pub async fn ensure_seeded(
    checkout: &Checkout,
    engine: &Engine,
    plain: &Built,
    seed: Seed,
    rebuild: Rebuild,
    progress: &dyn Progress,
) -> Result<Built> {
    if plain.system_source.is_none() && seed.tasks.iter().any(|task| !task.system_dependencies.is_empty()) {
        let notes = plain.notes.join("; ");
        return Err(Error::prerequisite(format!(
            "--warm-system wants Nix in the image: {notes}\nhint: leave --warm-system out, or build the image on a machine that reaches a Debian mirror or \
             nix-portable"
        )));
    }
    let request = SeedRequest {
        protocol: POD_PROTOCOL_VERSION,
        tasks: seed.tasks,
        network: network_settings(checkout, None).await?,
        prepare_ms: u64::try_from(PREPARE_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        max_age_s: DEFAULT_MAX_AGE_S,
    };
    let text = serde_json::to_vec(&request)?;
    let inputs = inputs(&plain.id, &text);
    let is_forced = rebuild == Rebuild::Always;
    if !is_forced && let Some(built) = present(engine, build_records::recall(checkout, &inputs)).await? {
        build_records::keep(checkout, &inputs, &built)?;
        return Ok(built);
    }
    let dir = ImageBuildDir::open(checkout, || progress.step("waiting for another build of this checkout"))?;
    progress.step("filling the caches that the image brings along");
    let tasks = u32::try_from(request.tasks.len()).unwrap_or(u32::MAX);
    let once = OneShotContainer {
        image: &plain.id,
        command: &["pod-seed"],
        files: files(&text, &certificates::bundle()?)?,
        volumes: &[PYTHON_MOUNT, NIX_MOUNT, "/task", "/etc/ssl/certs", "/tmp"],
        deadline: PREPARE_TIMEOUT.saturating_mul(tasks) + PACK_TIMEOUT,
    };
    engine.run_into(&once, RAW, judge).await?;
    // The same request finds other versions at another time, so the name is a hash of the content and not of the request.
    let (id, sizes) = load_normal(engine, progress, &dir.folder, RAW, UNNAMED).await?;
    let digest = id.trim_start_matches("sha256:");
    let reference = [REPOSITORY, ":", digest.get(..16).unwrap_or(digest)].concat();
    engine.tag(&id, &reference).await?;
    engine.remove_image(UNNAMED).await?;
    let built = Built {
        reference,
        id,
        sizes,
        pushed: None,
        ..plain.clone()
    };
    build_records::keep(checkout, &inputs, &built)?;
    Ok(built)
}

/// A hash of all that decides over what is asked for.
fn inputs(plain: &str, request: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in [plain.as_bytes(), request, include_bytes!("seed.rs")] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize()
}

/// Accepts what the runner reports.
fn judge(executed: &Executed) -> Result<()> {
    let report: PodMaintainReport = serde_json::from_str(executed.stdout.trim()).with_context(|| {
        let said = [executed.stdout.trim(), executed.stderr.trim()].concat();
        format!("the image's runner ended with code {} and said `{said}`", executed.code)
    })?;
    match report {
        PodMaintainReport::Done => Ok(()),
        PodMaintainReport::Failed { failure } => Err(Error::task(format!("the image cannot be warmed: {failure}"))),
        PodMaintainReport::Maintained { .. } | PodMaintainReport::SetAside { .. } => Err(failed!(
            "the image's runner answered with something other than the end of its work"
        )),
    }
}

/// What the container is given: the request, certificates, and folders that the image's user may write.
fn files(request: &[u8], certificates: &str) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for folder in [PYTHON_MOUNT, NIX_MOUNT, SEED_FOLDER] {
        let mut header = header(EntryType::Directory, 0o755, 0);
        builder.append_data(&mut header, folder.trim_start_matches('/'), std::io::empty())?;
    }
    for (path, bytes) in [(REQUEST_FILE, request), (CERTIFICATES, certificates.as_bytes())] {
        let mut header = header(EntryType::Regular, 0o444, bytes.len() as u64);
        builder.append_data(&mut header, path.trim_start_matches('/'), bytes)?;
    }
    Ok(builder.into_inner()?)
}

fn header(kind: EntryType, mode: u32, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(u64::from(contents::USER.uid));
    header.set_gid(u64::from(contents::USER.gid));
    header.set_mtime(super::reproducible::EPOCH_S);
    header.set_size(bytes);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(warm: &[&str], warm_system: &[&str]) -> Result<Option<Seed>> {
        let own = |lists: &[&str]| lists.iter().map(|&list| list.to_owned()).collect::<Vec<_>>();
        Seed::new(&own(warm), &own(warm_system))
    }

    #[test]
    fn each_list_is_what_one_task_would_ask_for() {
        let given = seed(&["numpy", "numpy,pandas>=2"], &["gcc,make"]);
        let tasks = given.unwrap().unwrap().tasks;
        let asked: Vec<_> = tasks
            .iter()
            .map(|task| (task.dependencies.as_str(), task.system_dependencies.as_str()))
            .collect();
        assert_eq!(asked, [("numpy", ""), ("numpy,pandas>=2", ""), ("", "gcc,make")]);
        assert!(seed(&[], &[]).unwrap().is_none());
    }

    #[test]
    fn what_no_task_may_ask_for_no_image_brings_along() {
        for (warm, system) in [(vec!["-e ."], vec![]), (vec![], vec!["../gcc"]), (vec![","], vec![])] {
            assert!(seed(&warm, &system).is_err(), "{warm:?} {system:?}");
        }
    }

    #[test]
    fn a_failure_of_the_runner_is_told_in_its_words() {
        let ended = |stdout: &str| Executed {
            code: 0,
            stdout: stdout.to_owned(),
            stderr: String::new(),
        };
        assert!(judge(&ended("{\"answer\":\"done\"}\n")).is_ok());
        let failure = hybrid_cache_model::Failure::new(hybrid_cache_model::FailureKind::Offline, "no index");
        let report = serde_json::to_string(&PodMaintainReport::Failed { failure }).unwrap();
        assert!(judge(&ended(&report)).unwrap_err().to_string().contains("no index"));
        assert!(
            judge(&ended("Segmentation fault"))
                .unwrap_err()
                .to_string()
                .contains("Segmentation")
        );
    }
}
