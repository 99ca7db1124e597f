//! Finds and leases the environments of a run, in the caches or as a preparation left them, or reports a miss.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hybrid_cache_model::protocol::{Environments, Missed, RunRequest};
use hybrid_cache_model::{
    CachePolicy, CacheReport, CacheStatus, Failure, Lane, Phase, Protection, PythonRequest, RequestKey, Resolved,
    SystemKey, Task,
};

use super::environment::Environment;
use crate::clock::Recorder;
use crate::python::{Lookup, PythonVolume};
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::stage::LEASE;
use crate::system::{SystemFound, SystemVolume};

const NOTHING_MISSED: Missed = Missed {
    python: false,
    python_stale: false,
    system: false,
};
/// Pauses between attempts to lease what was just prepared.
const LEASE_PAUSES_MS: [u64; 5] = [1, 2, 5, 10, 20];

/// Everything a program needs to start.
#[derive(Debug)]
pub struct Ready {
    /// The environments.
    pub environment: Environment,
    /// What the caches did.
    pub cache: CacheReport,
    /// What was resolved.
    pub resolved: Resolved,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Prevent eviction while they are held.
    leases: Vec<Lock>,
}

impl Default for Ready {
    fn default() -> Ready {
        Ready {
            environment: Environment::default(),
            cache: CacheReport {
                python: CacheStatus::NotAsked,
                system: CacheStatus::NotAsked,
            },
            resolved: Resolved::default(),
            warnings: Vec::new(),
            leases: Vec::new(),
        }
    }
}

/// The result of a lookup.
#[expect(
    clippy::large_enum_variant,
    reason = "a process makes one of them, and moves it once"
)]
#[derive(Debug)]
pub enum FindResult {
    /// The program can run.
    Ready(Ready),
    /// The environments must be prepared first.
    Missed(Missed),
}

/// Finds the environments that the request names, and leases them.
///
/// # Errors
/// A cache cannot be used at all. A miss is not an error.
pub fn find(request: &RunRequest, task: &Task, recorder: &Recorder) -> Result<FindResult, Failure> {
    match &request.environments {
        Environments::Prepared {
            python,
            system,
            cache,
            resolved,
        } => {
            let environment = Environment {
                python: python.as_ref().map(PathBuf::from),
                system: system.clone(),
                ..Environment::default()
            };
            let ready = Ready {
                environment,
                cache: *cache,
                resolved: resolved.clone(),
                ..Ready::default()
            };
            recorder.span(Phase::Lease, Lane::Runner, || prepared(request, task, ready))
        }
        Environments::Lookup if task.cache == CachePolicy::Bypass => Ok(bypass(task)),
        Environments::Lookup => look_up(request, task, recorder),
    }
}

/// A task that bypasses the caches misses, unless it needs no packages.
fn bypass(task: &Task) -> FindResult {
    let (python, system) = (!task.requirements.is_empty(), !task.system.is_empty());
    if python || system {
        return FindResult::Missed(Missed {
            python,
            python_stale: false,
            system,
        });
    }
    FindResult::Ready(Ready::default())
}

/// Leases what a preparation built or found. Without a lease nothing runs: an environment that was evicted meanwhile is
/// a miss, and the driver prepares again.
fn prepared(request: &RunRequest, task: &Task, mut ready: Ready) -> Result<FindResult, Failure> {
    let mut missed = NOTHING_MISSED;
    if let Some(folder) = &ready.environment.python {
        let lease = lease(&folder.join(LEASE))?;
        missed.python = lease.is_none() && Protection::LeaseRequired.is_on();
        ready.leases.extend(lease);
    }
    if !ready.environment.system.is_empty() {
        // A temporary volume has no index and no eviction.
        if task.cache == CachePolicy::Use {
            let (volume, key) = (
                SystemVolume::from_context(&request.context),
                SystemKey::new(&task.system, &request.context),
            );
            let lease = lease(&volume.lease_path(&key))?;
            missed.system = lease.is_none() && Protection::LeaseRequired.is_on();
            ready.leases.extend(lease);
            // Without the entry the closure is unknown, so the task could not be given its store paths.
            match volume.look_up(&key)? {
                Some(entry) => ready.environment.closure = entry.closure,
                None => missed.system = true,
            }
        }
        missed.system |= ready.environment.system.iter().any(|path| !Path::new(path).exists());
    }
    Ok(if missed == NOTHING_MISSED {
        FindResult::Ready(ready)
    } else {
        FindResult::Missed(missed)
    })
}

/// Takes a shared lease. Retries, because an eviction attempt holds it exclusively for a moment.
fn lease(path: &Path) -> Result<Option<Lock>, Failure> {
    for pause_ms in LEASE_PAUSES_MS {
        if let Some(lease) = lock::attempt(path, Mode::Shared, Missing::Absent)? {
            return Ok(Some(lease));
        }
        if !path.exists() {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(pause_ms));
    }
    lock::attempt(path, Mode::Shared, Missing::Absent)
}

fn look_up(request: &RunRequest, task: &Task, recorder: &Recorder) -> Result<FindResult, Failure> {
    let mut ready = Ready::default();
    let mut missed = NOTHING_MISSED;
    if !task.requirements.is_empty() {
        python(request, task, &mut ready, &mut missed, recorder)?;
    }
    if !task.system.is_empty() {
        system(request, task, &mut ready, &mut missed, recorder)?;
    }
    Ok(if missed == NOTHING_MISSED {
        FindResult::Ready(ready)
    } else {
        FindResult::Missed(missed)
    })
}

fn python(
    request: &RunRequest,
    task: &Task,
    ready: &mut Ready,
    missed: &mut Missed,
    recorder: &Recorder,
) -> Result<(), Failure> {
    let context = &request.context;
    // Find and lease in one step: a Python environment is one folder with its own lease.
    let found = recorder.span(Phase::Lookup, Lane::Runner, || {
        let volume = PythonVolume::read(context)?;
        let key = RequestKey::new(&PythonRequest::of(task, context));
        volume.lookup(&key, Duration::from_secs(context.max_age_s))
    })?;
    let leased = match found {
        Lookup::Hit(leased) => leased,
        Lookup::Stale(leased) if request.accept_stale => {
            let message =
                "the package index could not be reached: the task uses an environment that is older than allowed";
            ready.warnings.push(message.to_owned());
            leased
        }
        Lookup::Stale(_) => {
            missed.python_stale = true;
            return Ok(());
        }
        // The preparation removes the damaged one and counts it.
        Lookup::Damaged { .. } | Lookup::Miss => {
            missed.python = true;
            return Ok(());
        }
    };
    ready.cache.python = CacheStatus::Hit;
    let system = std::mem::take(&mut ready.resolved.system);
    ready.resolved = Resolved {
        system,
        ..leased.packages()?.resolved(&context.interpreter)
    };
    ready.environment.python = Some(leased.path().to_owned());
    ready.leases.push(leased.into_lock());
    Ok(())
}

fn system(
    request: &RunRequest,
    task: &Task,
    ready: &mut Ready,
    missed: &mut Missed,
    recorder: &Recorder,
) -> Result<(), Failure> {
    let volume = SystemVolume::from_context(&request.context);
    let key = SystemKey::new(&task.system, &request.context);
    let Some(entry) = recorder.span(Phase::Lookup, Lane::Runner, || volume.look_up(&key))? else {
        missed.system = true;
        return Ok(());
    };
    match recorder.span(Phase::Lease, Lane::Runner, || volume.lease(&key, entry))? {
        SystemFound::Leased { paths, closure, lease } => {
            ready.cache.system = CacheStatus::Hit;
            ready.resolved.system.clone_from(&paths);
            ready.environment.system = paths;
            ready.environment.closure = closure;
            ready.leases.push(lease);
        }
        SystemFound::Gone => missed.system = true,
    }
    Ok(())
}
