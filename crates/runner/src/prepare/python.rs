//! The Python side of a preparation: finds or builds the environment under the build lock, and publishes it.

use std::cell::OnceCell;
use std::time::{Duration, SystemTime};

use hybrid_cache_model::protocol::{Keep, PythonTools};
use hybrid_cache_model::{Failure, FailureKind, Lane, Phase, PythonRequest, RequestKey};

use super::builds::{self, Built};
use super::context::{FREE_PARTS, PrepareJob};
use super::fetch;
use crate::maintenance;
use crate::python::build::{self, Build, BuildRequest};
use crate::python::environment;
use crate::python::lookup::{Leased, Lookup};
use crate::python::no_wheel::{self, Asked};
use crate::python::uv::{BuiltWheel, Uv};
use crate::python::{PythonVolume, heal, publish, uv_errors};
use crate::store::failure::is_disk_full;
use crate::store::lock::{self, Lock, Mode};
use crate::store::stage::Stage;
use crate::store::{build_failure, files};

/// The result of the Python side.
pub enum PythonPrepared {
    /// The task asks for no packages.
    NotAsked,
    /// It was there.
    Found(Leased),
    /// It was built.
    Made(Box<Made>),
}

/// A new environment in staging, with the build lock that other preparations wait for.
pub struct Made {
    /// The environment.
    pub build: Build,
    /// Its request.
    pub key: RequestKey,
    lock: Option<Lock>,
    warnings: Vec<String>,
    /// What was added or chosen for the user; nothing that went wrong.
    pub notes: Vec<String>,
    /// The wheels that were built for it.
    built: Vec<Built>,
    /// True if the request had an environment that was too old.
    pub expired: bool,
}

/// Finds or builds what the task asks for.
///
/// # Errors
/// A volume that cannot be used, or whatever uv says.
pub fn prepare(job: &PrepareJob<'_>) -> Result<PythonPrepared, Failure> {
    if job.task.requirements.is_empty() {
        return Ok(PythonPrepared::NotAsked);
    }
    let context = &job.request.context;
    let Some(tools) = &job.request.python_tools else {
        let message = "the task asks for Python packages, but the request names no uv program";
        return Err(Failure::new(FailureKind::Tool, message).hint("give `python_tools`"));
    };
    let volume = PythonVolume::write(context)?;
    let key = RequestKey::new(&PythonRequest::of(&job.task, context));
    let lock = match job.request.keep {
        Keep::Discard => None,
        Keep::Publish => match locked(job, &volume, &key)? {
            LockResult::Found(leased) => return Ok(PythonPrepared::Found(leased)),
            LockResult::Build(lock, reason) => Some((lock, reason)),
        },
    };
    let (mut warnings, mut expired) = (Vec::new(), false);
    let lock = lock.map(|(lock, reason)| {
        match reason {
            BuildReason::Absent => {}
            BuildReason::Expired => expired = true,
            BuildReason::Damaged(reported) => warnings.push(reported),
        }
        lock
    });
    let made = making(job, &volume, &key, tools, &mut warnings);
    if let (Err(failure), true) = (&made, lock.is_some())
        && !(failure.kind == FailureKind::NoWheel && is_built_elsewhere(job))
    {
        build_failure::note(&volume.build_lock(&key), failure);
    }
    let (build, built) = made?;
    let of_builds = built.iter().flat_map(|built| built.notes.iter());
    let notes = build.note.iter().chain(of_builds).cloned().collect();
    Ok(PythonPrepared::Made(Box::new(Made {
        build,
        key,
        lock,
        warnings,
        notes,
        built,
        expired,
    })))
}

/// Fetches the wheels that the task names by their addresses and makes the environment, with builds if it takes some.
fn making(
    job: &PrepareJob<'_>,
    volume: &PythonVolume,
    key: &RequestKey,
    tools: &PythonTools,
    warnings: &mut Vec<String>,
) -> Result<(Build, Vec<Built>), Failure> {
    let fetched = making_room(volume, warnings, || fetch::wheels(job, volume, tools))?;
    let mut commits = Built::default();
    if builds::has_commits(&job.task) {
        making_room(volume, warnings, || {
            job.phases.run(Phase::PythonBuild, Lane::Python, || {
                builds::build_commits(job, volume, tools, &mut commits)
            })
        })?;
    }
    let wheels = [fetched.wheels.as_slice(), commits.wheels.as_slice()].concat();
    let own = match commits.wheels.is_empty() {
        true => volume.clone(),
        false => builds::volume_of_tenant(volume),
    };
    let request = build_request(job, &own, key, tools, &wheels);
    match making_room(&own, warnings, || build::make(&request)) {
        Err(failure) if failure.kind == FailureKind::NoWheel => {
            let said = failure.message.clone();
            let with = with_builds(&request, job, warnings, failure);
            let explain = |failure| match is_built_elsewhere(job) {
                true => failure,
                false => explained(job, volume, tools, failure, &said),
            };
            let made = with.map(|(build, built)| (build, vec![commits, built]));
            made.map_err(explain)
        }
        Ok(build) => Ok((build, vec![commits])),
        Err(failure) if uv_errors::is_unmet(&failure) => Err(explained(job, volume, tools, failure, "")),
        Err(failure) => Err(no_wheel::unknown(failure)),
    }
}

/// Builds what has no wheel, and then makes the environment. `no_wheel` is what uv said without builds.
fn with_builds(
    without: &BuildRequest<'_>,
    job: &PrepareJob<'_>,
    warnings: &mut Vec<String>,
    no_wheel: Failure,
) -> Result<(Build, Built), Failure> {
    let (volume, tools) = (without.volume, without.tools);
    if job.task.options.builds_nothing() {
        return Err(no_wheel.hint("the requirements say `--only-binary :all:`, so that no package is built: leave it out, or try another version"));
    }
    let (Some(settings), Some(builder)) = (&job.request.builds, job.builder) else {
        return Err(uv_errors::not_built(
            no_wheel,
            &job.request.context.interpreter,
            job.request.context.no_builds,
        ));
    };
    let mut built = Built::default();
    making_room(volume, warnings, || {
        job.phases.run(Phase::PythonBuild, Lane::Python, || {
            builds::build(job, volume, tools, settings, builder, &mut built)
        })
    })?;
    if built.wheels.is_empty() {
        return Err(no_wheel);
    }
    let volume = builds::volume_of_tenant(volume);
    let wheels = [without.built, built.wheels.as_slice()].concat();
    let request = build_request(job, &volume, without.key, tools, &wheels);
    making_room(&volume, warnings, || build::make(&request)).map(|build| (build, built))
}

/// True if this preparation cannot build packages and another one may: then the lack of a wheel is no end.
fn is_built_elsewhere(job: &PrepareJob<'_>) -> bool {
    job.builder.is_none() && !job.request.context.no_builds && !job.task.options.builds_nothing()
}

/// A failure for lack of a wheel or of fitting versions, with what else could be asked for. `said` is what uv said without builds.
fn explained(
    job: &PrepareJob<'_>,
    volume: &PythonVolume,
    tools: &PythonTools,
    failure: Failure,
    said: &str,
) -> Failure {
    let folder = Stage::create(&volume.staging()).and_then(|stage| {
        let work = stage.path().join("work");
        files::ensure_folder(&work)?;
        Ok((stage, work))
    });
    let Ok((stage, work)) = folder else { return failure };
    let uv = Uv {
        tools,
        cache: &volume.uv_cache(),
        work: &work,
        deadline: &job.deadline,
    };
    let asked = Asked {
        task: &job.task,
        interpreter: &job.request.context.interpreter,
        other_pythons: &job.request.other_pythons,
        folder: stage.path(),
    };
    no_wheel::explain(failure, said, &uv, &asked)
}

fn build_request<'a>(
    job: &'a PrepareJob<'a>,
    volume: &'a PythonVolume,
    key: &'a RequestKey,
    tools: &'a PythonTools,
    built: &'a [BuiltWheel],
) -> BuildRequest<'a> {
    let interpreter = &job.request.context.interpreter;
    BuildRequest {
        volume,
        key,
        task: &job.task,
        interpreter,
        tools,
        deadline: &job.deadline,
        phases: job.phases,
        built,
        setuptools: job.adds_setuptools(),
    }
}

enum LockResult {
    Found(Leased),
    Build(Lock, BuildReason),
}

/// Why an environment is built.
enum BuildReason {
    /// There is no environment.
    Absent,
    /// The environment is older than allowed.
    Expired,
    /// The environment is damaged; the text is a warning for the operator.
    Damaged(String),
}

/// Takes the request's build lock, then looks the request up again: the previous holder may have built the environment,
/// or failed for all. A waiting process uses a verified environment from the builder's staging folder as soon as the
/// builder's own task may, before it is published.
fn locked(job: &PrepareJob<'_>, volume: &PythonVolume, key: &RequestKey) -> Result<LockResult, Failure> {
    files::ensure_folder(&volume.locks())?;
    let path = volume.build_lock(key);
    let (staged, began) = (OnceCell::new(), SystemTime::now());
    let is_staged = || {
        volume
            .lease_staged(key)
            .is_some_and(|leased| staged.set(leased).is_ok())
    };
    let lock = job.phases.run(Phase::LockWait, Lane::Python, || {
        let given_up = || job.deadline.is_cancelled() || is_staged();
        lock::wait_unless(&path, Mode::Exclusive, job.deadline.instant(), given_up)
    });
    if let Some(leased) = staged.into_inner() {
        return Ok(LockResult::Found(leased));
    }
    let lock = lock?;
    // The note belongs to a builder that was killed.
    files::delete(&volume.staged_note(key))?;
    let found = job.phases.run(Phase::Lookup, Lane::Python, || {
        volume.lookup(key, Duration::from_secs(job.request.context.max_age_s))
    })?;
    match found {
        Lookup::Hit(leased) => {
            // Ignore a failure: another user's file cannot be updated, and the environment works without it.
            drop(environment::touch(leased.path()));
            Ok(LockResult::Found(leased))
        }
        Lookup::Damaged { path, what } => {
            let reported = heal::remove_damaged(volume, &path, &what)?;
            Ok(LockResult::Build(lock, BuildReason::Damaged(reported)))
        }
        Lookup::Stale(_) | Lookup::Miss => match build_failure::noted_since(&path, began) {
            Some(failure) => Err(failure),
            None if matches!(found, Lookup::Stale(_)) => Ok(LockResult::Build(lock, BuildReason::Expired)),
            None => Ok(LockResult::Build(lock, BuildReason::Absent)),
        },
    }
}

/// Runs `work`. If the volume is full, evicts and retries, freeing twice as much each time.
fn making_room<T>(
    volume: &PythonVolume,
    warnings: &mut Vec<String>,
    mut work: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (mut evicted, mut freed_bytes) = (0, 0);
    let mut result = work();
    for part in FREE_PARTS {
        let full = match result {
            Err(failure) if is_disk_full(&failure) => failure,
            other => {
                result = other;
                break;
            }
        };
        let Ok(freed) = maintenance::python::make_room(volume, part) else {
            return Err(full);
        };
        evicted += freed.evicted_environments;
        freed_bytes += freed.freed_bytes;
        // From the second round on, only this build's own downloads would be swept.
        let has_swept = part == FREE_PARTS[0] && (freed.freed_bytes > 0 || freed.swept > 0);
        result = if freed.evicted_environments > 0 || has_swept {
            work()
        } else {
            // The next round asks for more space; only the last round shows that nothing can be freed.
            Err(full)
        };
    }
    if evicted > 0 || freed_bytes > 0 {
        warnings.push(format!(
            "the Python volume was full: {evicted} environments were evicted, {freed_bytes} bytes freed"
        ));
    }
    result
}

/// Publishes a new environment and keeps the volume within its budget. Returns warnings for the operator.
pub fn finish(job: &PrepareJob<'_>, python: PythonPrepared) -> Vec<String> {
    let (PythonPrepared::Made(mut made), Keep::Publish) = (python, job.request.keep) else {
        return Vec::new();
    };
    let mut warnings = std::mem::take(&mut made.warnings);
    let context = &job.request.context;
    let (Ok(volume), Some(tools)) = (PythonVolume::write(context), &job.request.python_tools) else {
        return vec![format!(
            "the environment was not published: {} is no longer a volume",
            context.volumes.python
        )];
    };
    let (has_built, mut has_kept) = (made.built.iter().any(|built| !built.wheels.is_empty()), false);
    for built in &made.built {
        has_kept |= built.keep(&volume);
    }
    let volume = if has_built {
        builds::volume_of_tenant(&volume)
    } else {
        volume
    };
    let request = build_request(job, &volume, &made.key, tools, &[]);
    match making_room(&volume, &mut warnings, || publish::publish(&made.build, &request)) {
        Ok(more) => warnings.extend(more),
        Err(failure) => warnings.push(format!("the environment was not published: {failure}")),
    }
    // A lookup finds the published environment now; if publishing failed, the next preparation builds.
    drop(files::delete(&volume.staged_note(&made.key)));
    // Release the build lock before the eviction, which waiting preparations need not wait for.
    drop(made.lock.take());
    let counted = match has_kept {
        true => maintenance::python::count_copies(&volume),
        false => Ok(()),
    };
    match counted.and_then(|()| maintenance::python::keep_within(&volume, &job.request.budgets.python)) {
        Ok(report) => {
            let evicted = report.evicted_environments;
            if evicted > 0 {
                warnings.push(format!("{evicted} environments were evicted to stay in the budget"));
            }
            let is_explained = !report.warnings.is_empty();
            warnings.extend(report.warnings);
            if report.over_budget && !is_explained {
                let message = "the Python volume is over its budget: what is left is in use, or larger than the budget";
                warnings.push(message.to_owned());
            }
        }
        Err(failure) => warnings.push(format!("the budget could not be kept: {failure}")),
    }
    warnings
}
