//! A task's outcome, as both drivers assemble it: from the runner's report, or without one.

use hybrid_cache_model::outcome::{CacheReport, CacheStatus, Output, Resolved};
use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::{CachePolicy, End, Failure, FailureKind, Outcome, Task, Timeline};

use crate::needs::Needs;

/// What is known of a task so far, over all its runs.
#[derive(Default)]
pub struct TaskProgress {
    /// Where the time went, on the driver's clock.
    pub timeline: Timeline,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The outcome of a run that the runner reported. `timeline` is the driver's; the warnings are the runner's alone.
///
/// # Errors
/// The runner reported a miss, although the environment had been prepared for this run.
pub fn from_report(report: RunReport, timeline: Timeline) -> Result<Outcome, Box<Failure>> {
    match report {
        RunReport::Finished {
            end,
            cache,
            timeline: runner,
            stdout,
            stderr,
            resolved,
            warnings,
            ..
        } => Ok(Outcome {
            end,
            cache,
            timeline,
            runner_us: runner.total_us,
            stdout,
            stderr,
            resolved,
            warnings,
            not_kept: None,
        }),
        missed @ RunReport::Missed { .. } => {
            let message = format!("an environment that was just prepared is missing: {missed:?}");
            Err(Box::new(Failure::new(FailureKind::Internal, message)))
        }
    }
}

/// The outcome of a task that ended without a report.
pub fn without_report(end: End, task: &Task, progress: TaskProgress) -> Outcome {
    let status = |needed: bool| match (needed, task.cache) {
        (false, _) | (true, CachePolicy::Use) => CacheStatus::NotAsked,
        (true, CachePolicy::Bypass) => CacheStatus::Bypassed,
    };
    let needs = Needs::from(task);
    Outcome {
        end,
        cache: CacheReport {
            python: status(needs.python),
            system: status(needs.system),
        },
        timeline: progress.timeline,
        runner_us: 0,
        stdout: Output::default(),
        stderr: Output::default(),
        resolved: Resolved::default(),
        warnings: progress.warnings,
        not_kept: None,
    }
}
