//! `runner run`: looks the environments up, leases them, runs the user's program in them, and reports what happened.
//!
//! A warm run takes two hashes, two lookups, two shared locks and one fork.

mod build_tools;
mod confine;
mod descendants;
mod environment;
mod find_environments;
mod guard;
pub(crate) mod kernel;

pub(crate) mod memory;
mod module_hint;
pub(crate) mod prepared;
mod program;
mod report;
mod standard_input;
mod stream;
mod supervise;

use std::os::fd::{BorrowedFd, OwnedFd};

use hybrid_cache_model::contents::UsedKeys;
use hybrid_cache_model::protocol::{RunReport, RunRequest};
use hybrid_cache_model::{
    CachePolicy, End, Failure, FailureKind, Lane, Output, Phase, PythonRequest, RequestKey, SystemKey, Task,
};

pub use memory::{prefer_to_end_before_the_driver, take_descriptor};
pub use report::{Destination, ReportError};

use crate::clock::Recorder;
use find_environments::{FindResult, Ready};
use prepared::Prepared;
use supervise::Supervised;

/// The signal that the kernel sends when memory runs out.
pub(crate) const SIGKILL: i32 = 9;

/// What the driver gave the runner beside the request.
#[derive(Default)]
pub struct FromDriver {
    /// The file of a control group that bounds the program's memory; a process enters by writing 0 to it.
    pub memory_group: Option<OwnedFd>,
    /// A socket whose hang-up cancels the task.
    pub socket: Option<BorrowedFd<'static>>,
    /// A process that waits for a task like this one.
    pub prepared: Option<Prepared>,
}

impl FromDriver {
    /// A control group and a socket.
    pub fn new(memory_group: Option<OwnedFd>, socket: Option<BorrowedFd<'static>>) -> FromDriver {
        FromDriver {
            memory_group,
            socket,
            prepared: None,
        }
    }
}

/// Runs one request and returns its report. Failures are part of the report.
pub fn run(request: &RunRequest, from_driver: FromDriver, recorder: &Recorder) -> RunReport {
    run_leased(request, from_driver, recorder, &|| {})
}

/// Like [`run`], but calls `on_leased` once the run has its leases, before the program starts.
pub fn run_leased(
    request: &RunRequest,
    from_driver: FromDriver,
    recorder: &Recorder,
    on_leased: &dyn Fn(),
) -> RunReport {
    match try_run(request, from_driver, recorder, on_leased) {
        Ok(report) => report,
        Err(failure) => failed(failure, recorder),
    }
}

/// The report of a run that failed before its program started.
pub fn failed(failure: Failure, recorder: &Recorder) -> RunReport {
    let end = End::Failed { failure };
    finished(Ready::default(), UsedKeys::default(), not_run(end), recorder)
}

/// The report of a run that was cancelled before its program started.
pub fn cancelled(recorder: &Recorder) -> RunReport {
    let supervised = not_run(End::Cancelled);
    finished(Ready::default(), UsedKeys::default(), supervised, recorder)
}

fn try_run(
    request: &RunRequest,
    from_driver: FromDriver,
    recorder: &Recorder,
    on_leased: &dyn Fn(),
) -> Result<RunReport, Failure> {
    let FromDriver {
        memory_group,
        socket,
        prepared,
    } = from_driver;
    let task = request.task.check()?;
    guard::check_python(&task, &request.context.interpreter)?;
    let signals = guard::guard_ourselves().map_err(|error| {
        Failure::new(
            FailureKind::Sandbox,
            format!("the runner cannot set itself up to watch a program: {error}"),
        )
    })?;
    let mut ready = match find_environments::find(request, &task, recorder)? {
        FindResult::Ready(ready) => ready,
        FindResult::Missed(missed) => {
            return Ok(RunReport::Missed {
                missed,
                timeline: recorder.timeline(),
            });
        }
    };
    on_leased();
    let bounded = memory_group.is_some();
    let started = recorder.span(Phase::Start, Lane::Runner, || {
        // One that does not fit has ended when the program is started without it.
        let handed_over = prepared.and_then(|prepared| prepared.hand_over(request, &ready.environment).ok());
        handed_over.map_or_else(|| program::start(request, &ready.environment, memory_group), Ok)
    });
    let supervised = match started {
        Ok((started, warnings)) => {
            ready.warnings.extend(warnings);
            let watch = memory::Watch::start();
            let supervised = supervise::supervise(started, &request.limits, &signals, socket, recorder);
            let supervised = supervised.unwrap_or_else(|error| {
                let message = format!("the output of the user's program cannot be read: {error}");
                let failure = Failure::new(FailureKind::Sandbox, message);
                not_run(End::Failed { failure })
            });
            // With a memory group, the driver knows the cause and names the limit.
            if !bounded && supervised.end == (End::Signaled { signal: SIGKILL }) {
                ready.warnings.extend(watch.out_of_memory());
            }
            supervised
        }
        Err(failure) => not_run(End::Failed { failure }),
    };
    let keys = used_keys(request, &task, &ready);
    Ok(finished(ready, keys, supervised, recorder))
}

/// The keys of the cache entries that the run used. An environment in staging has no key yet.
fn used_keys(request: &RunRequest, task: &Task, ready: &Ready) -> UsedKeys {
    if task.cache == CachePolicy::Bypass {
        return UsedKeys::default();
    }
    let context = &request.context;
    let folder = ready.environment.python.as_deref();
    let published = folder.filter(|folder| folder.parent().is_some_and(|parent| parent.ends_with("envs")));
    let key = published.and_then(|folder| folder.file_name());
    UsedKeys {
        python_request: (!task.requirements.is_empty())
            .then(|| RequestKey::new(&PythonRequest::of(task, context)).to_string()),
        python: key.map(|key| key.to_string_lossy().into_owned()),
        system: (!task.system.is_empty()).then(|| SystemKey::new(&task.system, context).to_string()),
    }
}

fn not_run(end: End) -> Supervised {
    let nothing = Output::default();
    Supervised {
        end,
        stdout: nothing,
        stderr: nothing,
        warnings: Vec::new(),
    }
}

/// Builds the report. The leases in `ready` are released here, when no process of the task is left.
fn finished(ready: Ready, keys: UsedKeys, supervised: Supervised, recorder: &Recorder) -> RunReport {
    let Ready {
        cache,
        resolved,
        mut warnings,
        ..
    } = ready;
    warnings.extend(supervised.warnings);
    RunReport::Finished {
        end: supervised.end,
        cache,
        timeline: recorder.timeline(),
        stdout: supervised.stdout,
        stderr: supervised.stderr,
        resolved,
        warnings,
        keys,
    }
}
