//! `runner run`: look the environments up, lease them, run the user's program in them, tell what happened.
//!
//! Everything a warm run waits for is in this file's one path: two hashes, two lookups, two shared locks, one fork.

mod kernel;
mod leftovers;
mod lookup;
mod program;
mod report;
mod stream;
mod supervise;

use hybrid_cache_model::protocol::{RunReport, RunRequest};
use hybrid_cache_model::{End, Failure, FailureKind, Lane, Output, Phase, TaskError};
use rustix::process::DumpableBehavior;

pub use report::{Destination, ReportError};

use crate::clock::Recorder;
use kernel::Signals;
use lookup::{Found, Ready};
use supervise::Supervised;

/// Runs one request and returns its report. Whatever goes wrong is part of it.
pub fn run(request: &RunRequest, recorder: &Recorder) -> RunReport {
    run_leased(request, recorder, &|| {})
}

/// The same; `on_leased` is called once the run has its leases, before the program starts.
pub fn run_leased(request: &RunRequest, recorder: &Recorder, on_leased: &dyn Fn()) -> RunReport {
    match try_run(request, recorder, on_leased) {
        Ok(report) => report,
        Err(failure) => failed(failure, recorder),
    }
}

/// The report of a run that never came to its program.
pub fn failed(failure: Failure, recorder: &Recorder) -> RunReport {
    finished(Ready::default(), not_run(failure), recorder)
}

fn try_run(request: &RunRequest, recorder: &Recorder, on_leased: &dyn Fn()) -> Result<RunReport, Failure> {
    let task = request.task.check().map_err(refused)?;
    let signals = guard_ourselves().map_err(|error| {
        Failure::new(
            FailureKind::Sandbox,
            format!("the runner cannot set itself up to watch a program: {error}"),
        )
    })?;
    let ready = match lookup::find(request, &task, recorder)? {
        Found::Ready(ready) => ready,
        Found::Missed(missed) => {
            return Ok(RunReport::Missed {
                missed,
                timeline: recorder.timeline(),
            });
        }
    };
    on_leased();
    let started = recorder.span(Phase::Start, Lane::Runner, || {
        program::start(request, &ready.environment)
    });
    let supervised = match started {
        Ok(started) => supervise::supervise(started, &request.limits, &signals, recorder).unwrap_or_else(|error| {
            let message = format!("the output of the user's program cannot be read: {error}");
            not_run(Failure::new(FailureKind::Sandbox, message))
        }),
        Err(failure) => not_run(failure),
    };
    Ok(finished(ready, supervised, recorder))
}

fn refused(error: TaskError) -> Failure {
    let place = error.line.map_or_else(String::new, |line| format!(" line {line}"));
    let failure = Failure::new(
        FailureKind::InvalidTask,
        format!("{}{place}: {}", error.pointer, error.message),
    );
    Failure {
        hint: error.hint,
        ..failure
    }
}

/// Takes from user code every way to reach the runner itself, and makes its orphans ours.
fn guard_ourselves() -> std::io::Result<Signals> {
    // Nobody of the same user may trace this process or open its descriptors through /proc.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    kernel::hide_descriptors();
    leftovers::adopt_orphans()?;
    Signals::watch()
}

fn not_run(failure: Failure) -> Supervised {
    let nothing = Output::default();
    Supervised {
        end: End::Failed { failure },
        stdout: nothing,
        stderr: nothing,
        warnings: Vec::new(),
    }
}

/// Puts the report together. The leases in `ready` end here, when no process of the task is left.
fn finished(ready: Ready, supervised: Supervised, recorder: &Recorder) -> RunReport {
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
    }
}
