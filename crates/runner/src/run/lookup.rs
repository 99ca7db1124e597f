//! Which environments a run uses: found in the caches and leased, or just prepared, or missed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hybrid_cache_model::protocol::{Environments, Missed, RunRequest};
use hybrid_cache_model::{
    CachePolicy, CacheReport, CacheStatus, Failure, FailureKind, Lane, Phase, PythonRequest, RequestKey, Resolved, SystemKey, Task,
};

use super::program::Environment;
use crate::clock::Recorder;
use crate::python::{Lookup, PythonVolume};
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::stage::LEASE;
use crate::system::{SystemFound, SystemVolume};

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
    /// Keep eviction away as long as they live.
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

/// What a lookup came to.
#[derive(Debug)]
pub enum Found {
    /// Run it.
    Ready(Ready),
    /// Prepare it first.
    Missed(Missed),
}

/// Finds what the request says, and leases it.
///
/// # Errors
/// A cache that cannot be used at all; a mere miss is no error.
pub fn find(request: &RunRequest, task: &Task, recorder: &Recorder) -> Result<Found, Failure> {
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
            };
            let ready = Ready {
                environment,
                cache: *cache,
                resolved: resolved.clone(),
                ..Ready::default()
            };
            prepared(request, task, ready, recorder).map(Found::Ready)
        }
        Environments::Lookup if task.cache == CachePolicy::Bypass => Ok(bypass(task)),
        Environments::Lookup => look_up(request, task, recorder),
    }
}

/// A task that bypasses the caches finds nothing in them; one that needs nothing can run at once.
fn bypass(task: &Task) -> Found {
    let (python, system) = (!task.requirements.is_empty(), !task.system.is_empty());
    if python || system {
        return Found::Missed(Missed {
            python,
            python_stale: false,
            system,
        });
    }
    Found::Ready(Ready::default())
}

/// Leases what a preparation has made. It may not be published yet, or never will be, so it may have no lease.
fn prepared(request: &RunRequest, task: &Task, mut ready: Ready, recorder: &Recorder) -> Result<Ready, Failure> {
    recorder.span(Phase::Lease, Lane::Runner, || {
        if let Some(folder) = &ready.environment.python {
            check_environment(folder)?;
            ready
                .leases
                .extend(lock::attempt(&folder.join(LEASE), Mode::Shared, Missing::Absent)?);
        }
        if !ready.environment.system.is_empty() {
            let key = SystemKey::new(&task.system, &request.place);
            let lease = SystemVolume::of(&request.place).lease_path(&key);
            ready
                .leases
                .extend(lock::attempt(&lease, Mode::Shared, Missing::Absent)?);
            check_store_paths(&ready.environment.system)?;
        }
        Ok(ready)
    })
}

fn check_environment(folder: &Path) -> Result<(), Failure> {
    std::fs::metadata(folder).map(drop).map_err(|error| {
        Failure::new(
            FailureKind::Sandbox,
            format!("the prepared environment {} is not there: {error}", folder.display()),
        )
        .hint("its folder must be mounted into the task's sandbox at the path the request gives")
    })
}

fn check_store_paths(paths: &[String]) -> Result<(), Failure> {
    let Some(gone) = paths.iter().find(|path| !Path::new(path).exists()) else {
        return Ok(());
    };
    Err(Failure::new(
        FailureKind::Sandbox,
        format!("the prepared store path {gone} is not there"),
    )
    .hint("the system volume must be mounted at /nix; if it is, the path was collected: run the task again"))
}

fn look_up(request: &RunRequest, task: &Task, recorder: &Recorder) -> Result<Found, Failure> {
    let mut ready = Ready::default();
    let mut missed = Missed {
        python: false,
        python_stale: false,
        system: false,
    };
    if !task.requirements.is_empty() {
        python(request, task, &mut ready, &mut missed, recorder)?;
    }
    if !task.system.is_empty() {
        system(request, task, &mut ready, &mut missed, recorder)?;
    }
    let nothing_missed = Missed {
        python: false,
        python_stale: false,
        system: false,
    };
    Ok(if missed == nothing_missed {
        Found::Ready(ready)
    } else {
        Found::Missed(missed)
    })
}

fn python(
    request: &RunRequest,
    task: &Task,
    ready: &mut Ready,
    missed: &mut Missed,
    recorder: &Recorder,
) -> Result<(), Failure> {
    let place = &request.place;
    // Found and leased in one step: a Python environment is one folder that carries its own lease.
    let found = recorder.span(Phase::Lookup, Lane::Runner, || {
        let volume = PythonVolume::read(place)?;
        let key = RequestKey::new(&PythonRequest::new(&task.requirements, place));
        volume.lookup(&key, Duration::from_secs(place.max_age_s))
    })?;
    let leased = match found {
        Lookup::Hit(leased) => leased,
        Lookup::Stale(leased) if request.accept_stale => {
            let message = "the package index could not be reached: an environment that was resolved longer ago than allowed is used";
            ready.warnings.push(message.to_owned());
            leased
        }
        Lookup::Stale(_) => {
            missed.python_stale = true;
            return Ok(());
        }
        // Who prepares it takes the damaged one away, and counts that.
        Lookup::Damaged { .. } | Lookup::Miss => {
            missed.python = true;
            return Ok(());
        }
    };
    ready.cache.python = CacheStatus::Hit;
    ready.resolved.python = leased.resolved()?;
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
    let volume = SystemVolume::of(&request.place);
    let key = SystemKey::new(&task.system, &request.place);
    let Some(entry) = recorder.span(Phase::Lookup, Lane::Runner, || volume.look_up(&key))? else {
        missed.system = true;
        return Ok(());
    };
    match recorder.span(Phase::Lease, Lane::Runner, || volume.lease(&key, entry))? {
        SystemFound::Leased { paths, lease } => {
            ready.cache.system = CacheStatus::Hit;
            ready.resolved.system.clone_from(&paths);
            ready.environment.system = paths;
            ready.leases.push(lease);
        }
        SystemFound::Gone => missed.system = true,
    }
    Ok(())
}
