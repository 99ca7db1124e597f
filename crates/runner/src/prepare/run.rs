//! `runner prepare`: makes what a task needs, Python and system side by side, and says so as soon as both are usable.
//!
//! ```text
//! python  look under the build lock ─ venv ─ install ─ verify ─┐
//! system  bootstrap ─ realise ─ register ──────────────────────┴─ Ready ─ byte-code ─ publish ─ Published
//! ```
//!
//! A task may run from staging from `Ready` on. A failure after it does not fail the task any more: it becomes a
//! warning of `Published`.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_model::contents::Prepared;
use hybrid_cache_model::protocol::{Keep, PrepareEvent, PrepareRequest};
use hybrid_cache_model::{
    CacheReport, CacheStatus, Failure, FailureKind, Lane, Phase, Protection, PythonRequest, RequestKey, Requirement,
    Resolved, Task,
};

use super::system;
use crate::child::Patience;
use crate::clock::Recorder;
use crate::maintenance::{self, leftovers};
use crate::python::build::{self, Build, Order, Phases};
use crate::python::lookup::{Leased, Lookup};
use crate::python::{PythonVolume, heal, publish};
use crate::store::build_failure;
use crate::store::failure::is_disk_full;
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::stage::LEASE;
use crate::system::SystemPrepared;

/// Which part of a full volume's file system is to be free for the next attempt: a sixteenth first, in the end all of it.
const FREE_PARTS: [u64; 5] = [16, 8, 4, 2, 1];
/// How long sweeping after a preparation may take; nobody waits for it.
const SWEEP: Duration = Duration::from_secs(2);

/// Whom to tell of events; called from several threads.
pub type Emit<'a> = &'a (dyn Fn(&PrepareEvent) + Sync);

/// The system side, behind one function.
pub type SystemSide<'a> = &'a (dyn Fn(&PrepareRequest, &Recorder) -> Result<SystemPrepared, Failure> + Sync);

/// What the Python side made.
enum PythonPrepared {
    NotAsked,
    Found(Leased),
    Made(Box<Made>),
}

/// An environment in staging, and the build lock that others wait for.
struct Made {
    build: Build,
    key: RequestKey,
    lock: Option<Lock>,
    warnings: Vec<String>,
    /// True if the request was known and too old.
    expired: bool,
}

enum Side {
    Python(Result<PythonPrepared, Failure>),
    System(Result<SystemPrepared, Failure>),
}

/// Everything one preparation works with.
struct Job<'a> {
    request: &'a PrepareRequest,
    task: Task,
    patience: Patience,
    phases: &'a Phases<'a>,
}

/// Prepares; every outcome is told through `emit`.
pub fn run(request: &PrepareRequest, recorder: &Recorder, emit: Emit<'_>) {
    run_with(request, recorder, emit, &system::prepare);
}

/// Prepares, and keeps what it found or made leased until `until_leased`, which is told how long it may take at most,
/// says that the task has leases of its own. Nothing else waits for that.
pub fn run_until_leased(
    request: &PrepareRequest,
    recorder: &Recorder,
    emit: Emit<'_>,
    until_leased: &(dyn Fn(Duration) + Sync),
) {
    let deadline = Instant::now() + Duration::from_millis(request.deadline_ms);
    let leases = prepare(request, recorder, emit, &system::prepare);
    if !leases.is_empty() && Protection::LeaseRequired.is_on() {
        until_leased(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Prepares with the given system side; every outcome is told through `emit`.
pub fn run_with(request: &PrepareRequest, recorder: &Recorder, emit: Emit<'_>, system: SystemSide<'_>) {
    drop(prepare(request, recorder, emit, system));
}

/// Prepares and publishes; the leases on what the task was told of.
fn prepare(request: &PrepareRequest, recorder: &Recorder, emit: Emit<'_>, system: SystemSide<'_>) -> Vec<Lock> {
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
    let job = match job(request, &phases) {
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
    let (is_made, expired) = match &python {
        PythonPrepared::Made(made) => (true, made.expired),
        _ => (false, false),
    };
    let told = leases(&python, &mut system).and_then(|leases| Ok((leases, ready(&job, &mut python, system)?)));
    let leases = match told {
        Ok((leases, event)) => {
            emit(&event);
            leases
        }
        Err(failure) => {
            failed(failure);
            return Vec::new();
        }
    };
    let mut warnings = finish(&job, python);
    warnings.extend(system::finish(request, is_system_made));
    let described = request.describe && request.keep == Keep::Publish && (is_made || is_system_made);
    let prepared = described.then(|| {
        let contents = maintenance::contents::of_task(&request.place, &job.task);
        Box::new(Prepared { contents, expired })
    });
    emit(&PrepareEvent::Published {
        timeline: recorder.timeline(),
        warnings,
        prepared,
    });
    if is_made {
        sweep(&job);
    }
    leases
}

/// Removes what killed processes left on the volume, when nobody waits any more. What cannot be removed only takes space.
fn sweep(job: &Job<'_>) {
    let keeps = job.request.keep == Keep::Publish && !job.task.requirements.is_empty();
    if let (true, Ok(volume)) = (keeps, PythonVolume::write(&job.request.place)) {
        leftovers::sweep(&volume, Instant::now() + SWEEP);
    }
}

/// Leases on what the task will use. That of a new environment goes with its folder when it is published.
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

fn job<'a>(request: &'a PrepareRequest, phases: &'a Phases<'a>) -> Result<Job<'a>, Failure> {
    let task = request
        .task
        .check()
        .map_err(|error| Failure::new(FailureKind::InvalidTask, error.to_string()))?;
    let patience = Patience::until(Instant::now() + Duration::from_millis(request.deadline_ms))?;
    Ok(Job {
        request,
        task,
        patience,
        phases,
    })
}

/// Runs both sides at the same time.
///
/// A failure ends uv, and is told when the staging folder is gone. Nix is left to finish what it does, because what
/// it realises is of use to the next attempt; nobody waits for that with the bad news.
fn both(job: &Job<'_>, failed: &dyn Fn(Failure), system: SystemSide<'_>) -> Option<(PythonPrepared, SystemPrepared)> {
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        let python_sender = sender.clone();
        scope.spawn(move || python_sender.send(Side::Python(python_side(job))));
        scope.spawn(move || sender.send(Side::System(system_side(job, system))));
        let (mut python, mut systems, mut first) = (None, None, None);
        for side in receiver {
            match side {
                Side::Python(result) => python = Some(result.map_err(|failure| first = first.take().or(Some(failure)))),
                Side::System(result) => {
                    systems = Some(result.map_err(|failure| first = first.take().or(Some(failure))))
                }
            }
            if first.is_some() {
                job.patience.cancel();
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

fn system_side(job: &Job<'_>, system: SystemSide<'_>) -> Result<SystemPrepared, Failure> {
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

fn python_side(job: &Job<'_>) -> Result<PythonPrepared, Failure> {
    if job.task.requirements.is_empty() {
        return Ok(PythonPrepared::NotAsked);
    }
    let place = &job.request.place;
    let Some(tools) = &job.request.python_tools else {
        let message = "the task asks for Python packages, but the request names no uv program";
        return Err(Failure::new(FailureKind::Tool, message).hint("give `python_tools`"));
    };
    let volume = PythonVolume::write(place)?;
    let key = RequestKey::new(&PythonRequest::new(&job.task.requirements, place));
    let lock = match job.request.keep {
        Keep::Discard => None,
        Keep::Publish => match locked(job, &volume, &key)? {
            Locked::Found(leased) => return Ok(PythonPrepared::Found(leased)),
            Locked::Build(lock, why) => Some((lock, why)),
        },
    };
    let (mut warnings, mut expired) = (Vec::new(), false);
    let lock = lock.map(|(lock, why)| {
        match why {
            Why::Absent => {}
            Why::Expired => expired = true,
            Why::Damaged(told) => warnings.push(told),
        }
        lock
    });
    let order = order(job, &volume, &key, &job.task.requirements, tools);
    let build = making_room(&order, &mut warnings, || build::make(&order));
    if let (Err(failure), true) = (&build, lock.is_some()) {
        build_failure::note(&volume.build_lock(&key), failure);
    }
    let build = build?;
    Ok(PythonPrepared::Made(Box::new(Made {
        build,
        key,
        lock,
        warnings,
        expired,
    })))
}

fn order<'a>(
    job: &'a Job<'a>,
    volume: &'a PythonVolume,
    key: &'a RequestKey,
    requirements: &'a [Requirement],
    tools: &'a hybrid_cache_model::protocol::PythonTools,
) -> Order<'a> {
    let interpreter = &job.request.place.interpreter;
    Order {
        volume,
        key,
        requirements,
        interpreter,
        tools,
        patience: &job.patience,
        phases: job.phases,
    }
}

enum Locked {
    Found(Leased),
    Build(Lock, Why),
}

/// Why an environment is built.
enum Why {
    /// There is none.
    Absent,
    /// There is one, resolved longer ago than allowed.
    Expired,
    /// A damaged one was found: what to tell of it.
    Damaged(String),
}

/// Takes the request's build lock, then looks again: whoever held it may have made the environment, or failed for all. Whoever waits uses what
/// the one who builds has verified, as soon as that one's own task may, and does not wait for it to be published.
fn locked(job: &Job<'_>, volume: &PythonVolume, key: &RequestKey) -> Result<Locked, Failure> {
    crate::store::files::ensure_folder(&volume.locks())?;
    let path = volume.build_lock(key);
    let (staged, began) = (OnceCell::new(), SystemTime::now());
    let is_staged = || {
        volume
            .lease_staged(key)
            .is_some_and(|leased| staged.set(leased).is_ok())
    };
    let lock = job.phases.run(Phase::LockWait, Lane::Python, || {
        let given_up = || job.patience.is_cancelled() || is_staged();
        lock::wait_unless(&path, Mode::Exclusive, job.patience.deadline(), given_up)
    });
    if let Some(leased) = staged.into_inner() {
        return Ok(Locked::Found(leased));
    }
    let lock = lock?;
    // It is that of a maker who was killed.
    crate::store::files::delete(&volume.staged_note(key))?;
    let found = job.phases.run(Phase::Lookup, Lane::Python, || {
        volume.lookup(key, Duration::from_secs(job.request.place.max_age_s))
    })?;
    match found {
        Lookup::Hit(leased) => {
            // Another user's file cannot be stamped; the environment is as good without.
            drop(publish::touch(leased.path()));
            Ok(Locked::Found(leased))
        }
        Lookup::Damaged { path, what } => {
            let told = heal::take_away(volume, &path, &what)?;
            Ok(Locked::Build(lock, Why::Damaged(told)))
        }
        Lookup::Stale(_) | Lookup::Miss => match build_failure::noted_since(&path, began) {
            Some(failure) => Err(failure),
            None if matches!(found, Lookup::Stale(_)) => Ok(Locked::Build(lock, Why::Expired)),
            None => Ok(Locked::Build(lock, Why::Absent)),
        },
    }
}

/// Runs `work`; where the volume is full, evicts a little, tries again, and so on, twice as much each time.
fn making_room<T>(
    order: &Order<'_>,
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
        let Ok(freed) = maintenance::python::make_room(order.volume, part) else {
            return Err(full);
        };
        evicted += freed.evicted_environments;
        freed_bytes += freed.freed_bytes;
        // From the second time on, what goes beside environments is what this one has just downloaded.
        let has_swept = part == FREE_PARTS[0] && (freed.freed_bytes > 0 || freed.swept > 0);
        result = if freed.evicted_environments > 0 || has_swept {
            work()
        } else {
            // More is asked for the next time, and only in the end it is known that nothing can go.
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

fn ready(job: &Job<'_>, python: &mut PythonPrepared, system: SystemPrepared) -> Result<PrepareEvent, Failure> {
    let volume_root = Path::new(&job.request.place.volumes.python);
    let relative = |path: &Path| {
        path.strip_prefix(volume_root)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned()
    };
    let (path, status, pins) = match python {
        PythonPrepared::NotAsked => (None, CacheStatus::NotAsked, Vec::new()),
        PythonPrepared::Found(leased) => (Some(relative(leased.path())), CacheStatus::Hit, leased.resolved()?),
        PythonPrepared::Made(made) => {
            made.build.stage.hand_out()?;
            let path = relative(&made.build.environment());
            if job.request.keep == Keep::Publish {
                let note = PythonVolume::write(&job.request.place)?.staged_note(&made.key);
                // Without it the others wait until it is published.
                drop(std::fs::write(note, &path));
            }
            let status = match job.request.keep {
                Keep::Publish => made.build.status(),
                Keep::Discard => CacheStatus::Bypassed,
            };
            (Some(path), status, made.build.resolved())
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
            python: pins,
            system: system.paths,
        },
        timeline: job.phases.recorder.timeline(),
    })
}

/// Publishes what was made; what an operator should know about it.
fn finish(job: &Job<'_>, python: PythonPrepared) -> Vec<String> {
    let (PythonPrepared::Made(mut made), Keep::Publish) = (python, job.request.keep) else {
        return Vec::new();
    };
    let mut warnings = std::mem::take(&mut made.warnings);
    let place = &job.request.place;
    let (Ok(volume), Some(tools)) = (PythonVolume::write(place), &job.request.python_tools) else {
        return vec![format!(
            "the environment was not published: {} is no volume any more",
            place.volumes.python
        )];
    };
    let order = order(job, &volume, &made.key, &job.task.requirements, tools);
    match making_room(&order, &mut warnings, || publish::publish(&made.build, &order)) {
        Ok(more) => warnings.extend(more),
        Err(failure) => warnings.push(format!("the environment was not published: {failure}")),
    }
    // It leads to nothing better than a lookup now, and where publishing failed the next one builds.
    drop(crate::store::files::delete(&volume.staged_note(&made.key)));
    // Those that wait for the same packages do not wait for the rest.
    drop(made.lock.take());
    match maintenance::python::keep_within(&volume, &job.request.budgets.python) {
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
