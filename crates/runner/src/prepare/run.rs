//! `runner prepare`: prepares Python and system packages in parallel, reports `Ready` as soon as both are usable, and
//! then publishes.
//!
//! ```text
//! python  look under the build lock ─ venv ─ install ─ verify ─┐
//! system  bootstrap ─ realise ─ register ──────────────────────┴─ Ready ─ bytecode ─ publish ─ Published
//! ```
//!
//! After `Ready` a task may run from staging. A later failure does not fail the task; it becomes a warning of
//! `Published`.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hybrid_cache_model::contents::Prepared;
use hybrid_cache_model::protocol::{Keep, PrepareEvent, PrepareRequest};
use hybrid_cache_model::{CacheReport, CacheStatus, Failure, FailureKind, Lane, Phase, Protection, Resolved};

use super::context::{self, Builder, PrepareJob};
use super::python::{self, PythonPrepared};
use super::system;
use crate::clock::Recorder;
use crate::maintenance::{contents, leftovers};
use crate::python::PythonVolume;
use crate::python::build::Phases;
use crate::python::environment::Packages;
use crate::store::folder;
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::stage::LEASE;
use crate::system::SystemPrepared;

/// Time limit for the sweep after a preparation, which no task waits for.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(2);

/// Receives the events; called from several threads.
pub type Emit<'a> = &'a (dyn Fn(&PrepareEvent) + Sync);

/// The system side as one function, which tests replace.
pub type SystemSide<'a> = &'a (dyn Fn(&PrepareRequest, &Recorder) -> Result<SystemPrepared, Failure> + Sync);

enum Side {
    Python(Result<PythonPrepared, Failure>),
    System(Result<SystemPrepared, Failure>),
}

/// Prepares; every outcome goes to `emit`.
pub fn run(request: &PrepareRequest, recorder: &Recorder, emit: Emit<'_>) {
    run_with(request, recorder, emit, &system::prepare);
}

/// Prepares, and keeps the environments leased until `until_leased` returns, because then the task has its own leases.
/// `until_leased` gets the longest time that it may take.
pub fn run_until_leased(
    request: &PrepareRequest,
    recorder: &Recorder,
    emit: Emit<'_>,
    until_leased: &(dyn Fn(Duration) + Sync),
    builder: Option<Builder<'_>>,
) {
    let deadline = Instant::now() + Duration::from_millis(request.deadline_ms);
    let leases = prepare(request, recorder, emit, &system::prepare, builder);
    if !leases.is_empty() && Protection::LeaseRequired.is_on() {
        until_leased(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Prepares with the given system side; every outcome goes to `emit`.
pub fn run_with(request: &PrepareRequest, recorder: &Recorder, emit: Emit<'_>, system: SystemSide<'_>) {
    drop(prepare(request, recorder, emit, system, None));
}

/// Prepares with the given system side and a builder of packages that have no wheel.
pub fn run_building(
    request: &PrepareRequest,
    recorder: &Recorder,
    emit: Emit<'_>,
    system: SystemSide<'_>,
    builder: Builder<'_>,
) {
    drop(prepare(request, recorder, emit, system, Some(builder)));
}

/// Prepares and publishes. Returns the leases on what the task uses.
fn prepare(
    request: &PrepareRequest,
    recorder: &Recorder,
    emit: Emit<'_>,
    system: SystemSide<'_>,
    builder: Option<Builder<'_>>,
) -> Vec<Lock> {
    let announce = |phase: Phase, lane: Lane| emit(&PrepareEvent::Phase { phase, lane });
    let phases = Phases {
        recorder,
        announce: &announce,
    };
    let failed = |failure: Failure| {
        emit(&PrepareEvent::Failed {
            failure,
            timeline: recorder.timeline(),
        })
    };
    let job = match context::job(request, &phases, builder) {
        Ok(job) => job,
        Err(failure) => {
            failed(failure);
            return Vec::new();
        }
    };
    let Some((mut python, mut system)) = both(&job, &failed, system) else {
        sweep(&job);
        return Vec::new();
    };
    let is_system_made = matches!(system.status, CacheStatus::Built { .. });
    let (is_made, expired, notes) = match &mut python {
        PythonPrepared::Made(made) => (true, made.expired, std::mem::take(&mut made.notes)),
        _ => (false, false, Vec::new()),
    };
    let ready_event = leases(&python, &mut system).and_then(|leases| Ok((leases, ready(&job, &mut python, system)?)));
    let leases = match ready_event {
        Ok((leases, event)) => {
            emit(&event);
            leases
        }
        Err(failure) => {
            failed(failure);
            return Vec::new();
        }
    };
    let mut warnings = python::finish(&job, python);
    warnings.extend(system::finish(request, is_system_made));
    let described = request.describe && request.keep == Keep::Publish && (is_made || is_system_made);
    let prepared = described.then(|| {
        let contents = contents::task_contents(&request.context, &job.task);
        Box::new(Prepared { contents, expired })
    });
    emit(&PrepareEvent::Published {
        timeline: recorder.timeline(),
        warnings,
        notes,
        prepared,
    });
    if is_made {
        sweep(&job);
    }
    leases
}

/// Removes what killed processes left on the volume, once no task waits. Failures are ignored, because leftovers only
/// take space.
fn sweep(job: &PrepareJob<'_>) {
    let keeps = job.request.keep == Keep::Publish && !job.task.requirements.is_empty();
    if let (true, Ok(volume)) = (keeps, PythonVolume::write(&job.request.context)) {
        leftovers::sweep(&volume, Instant::now() + SWEEP_TIMEOUT);
    }
}

/// Leases what the task will use. The lease of a new environment moves with its folder when it is published.
fn leases(python: &PythonPrepared, system: &mut SystemPrepared) -> Result<Vec<Lock>, Failure> {
    let mut leases: Vec<Lock> = system.lease.take().into_iter().collect();
    let path = match python {
        PythonPrepared::NotAsked => return Ok(leases),
        PythonPrepared::Found(leased) => leased.path().join(LEASE),
        PythonPrepared::Made(made) => made.build.environment().join(LEASE),
    };
    leases.extend(lock::attempt(&path, Mode::Shared, Missing::Absent)?);
    Ok(leases)
}

/// Runs both sides in parallel.
///
/// If the system side fails, uv is stopped, and the failure is reported once the staging folder is gone. Nix is not
/// stopped, because the next attempt can use what it builds; a failure of the Python side is reported without waiting
/// for it.
fn both(
    job: &PrepareJob<'_>,
    failed: &dyn Fn(Failure),
    system: SystemSide<'_>,
) -> Option<(PythonPrepared, SystemPrepared)> {
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        let python_sender = sender.clone();
        scope.spawn(move || python_sender.send(Side::Python(python::prepare(job))));
        scope.spawn(move || {
            let made = system_side(job, system);
            let paths = made.as_ref().ok().map(|made| made.paths.clone());
            // Sent first: a build that waits for the packages then fails because of this failure, which is the one to report.
            let sent = sender.send(Side::System(made));
            job.system.set(paths);
            sent
        });
        let (mut python, mut systems, mut first) = (None, None, None);
        for side in receiver {
            match side {
                Side::Python(result) => python = Some(result.map_err(|failure| first = first.take().or(Some(failure)))),
                Side::System(result) => {
                    systems = Some(result.map_err(|failure| first = first.take().or(Some(failure))))
                }
            }
            if first.is_some() {
                job.deadline.cancel();
            }
            if python.is_some() && first.is_some() {
                drop(python.take());
                failed(first.take()?);
                return None;
            }
        }
        match (python, systems) {
            (Some(Ok(python)), Some(Ok(system))) => Some((python, system)),
            _ => {
                failed(Failure::new(
                    FailureKind::Internal,
                    "one half of the preparation panicked",
                ));
                None
            }
        }
    })
}

fn system_side(job: &PrepareJob<'_>, system: SystemSide<'_>) -> Result<SystemPrepared, Failure> {
    if job.task.system.is_empty() {
        return Ok(SystemPrepared {
            paths: Vec::new(),
            status: CacheStatus::NotAsked,
            lease: None,
        });
    }
    (job.phases.announce)(Phase::SystemRealise, Lane::System);
    system(job.request, job.phases.recorder)
}

fn ready(job: &PrepareJob<'_>, python: &mut PythonPrepared, system: SystemPrepared) -> Result<PrepareEvent, Failure> {
    let volume_root = Path::new(&job.request.context.volumes.python);
    let relative = |path: &Path| folder::relative(volume_root, path);
    let (path, status, packages) = match python {
        PythonPrepared::NotAsked => (None, CacheStatus::NotAsked, Packages::default()),
        PythonPrepared::Found(leased) => (Some(relative(leased.path())), CacheStatus::Hit, leased.packages()?),
        PythonPrepared::Made(made) => {
            made.build.stage.hand_out()?;
            let path = relative(&made.build.environment());
            if job.request.keep == Keep::Publish {
                let note = PythonVolume::write(&job.request.context)?.staged_note(&made.key);
                // Without the note, waiting preparations wait until it is published.
                drop(std::fs::write(note, &path));
            }
            let status = match job.request.keep {
                Keep::Publish => made.build.status(),
                Keep::Discard => CacheStatus::Bypassed,
            };
            (Some(path), status, made.build.packages())
        }
    };
    Ok(PrepareEvent::Ready {
        python: path,
        system: system.paths.clone(),
        cache: CacheReport {
            python: status,
            system: system.status,
        },
        resolved: Resolved {
            system: system.paths,
            ..packages.resolved(&job.request.context.interpreter)
        },
        timeline: job.phases.recorder.timeline(),
    })
}
