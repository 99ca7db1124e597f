//! What to do next about one Job: a pure step from what the watches have shown, so that every turn can be tested.

use std::time::Duration;

use hybrid_cache_model::pod::PrepareReport;
use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::{End, Failure, FailureKind};

use super::explain;
use super::sight::{ContainerSight, Ended, Sight};
use super::workload::Kind;

/// A kubelet that began anew tries to mount volumes again after pauses, which double up to 122 s (its
/// `nestedpendingoperations`).
const REMOUNTED: Duration = Duration::from_secs(150);

/// How long a Job may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until its container runs.
    pub start: Duration,
    /// Until its container has ended.
    pub whole: Duration,
}

impl Bounds {
    /// With the time that a node which was restarted needs to start the task's pod.
    pub fn after_restart(self, sight: &Sight) -> Bounds {
        match explain::kubelet_began_anew(sight) {
            true => Bounds {
                start: self.start.saturating_add(REMOUNTED).min(self.whole),
                ..self
            },
            false => self,
        }
    }

    /// When to look again even if no watch shows anything.
    pub fn next(self, elapsed: Duration) -> Duration {
        let next = if elapsed < self.start { self.start } else { self.whole };
        next.saturating_sub(elapsed)
    }
}

/// The next step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Wait for what the watches show next.
    Wait,
    /// What the workload says is of a pod that no watch has shown (yet), or not to its end: ask for the pod, once.
    Ask,
    /// The task's container runs: follow its log.
    Follow,
    /// The task's container has ended.
    Ended(Ended),
    /// It has no end of its own any more, or will never have a beginning.
    Failed(Failure),
}

/// Decides it, `elapsed` after the Job was made.
pub fn next(sight: &Sight, elapsed: Duration, bounds: Bounds) -> Step {
    let task = sight.pod.as_ref().map(|pod| &pod.task);
    if let Some(ContainerSight::Ended(ended)) = task {
        return Step::Ended(ended.clone());
    }
    if sight.workload.has_ended() && !sight.asked {
        return Step::Ask;
    }
    if let Some(failure) = explain::hopeless(sight) {
        if sight.kind == Kind::Workflow && sight.pod.is_none() && !sight.asked {
            return Step::Ask;
        }
        // A pod that is being deleted still has its grace to say how far the task came.
        let leaving = sight.pod.as_ref().is_some_and(|pod| pod.deleting) && !sight.pod_gone;
        return if leaving && elapsed < bounds.whole {
            Step::Wait
        } else {
            Step::Failed(failure)
        };
    }
    if let Preparation::Lost(failure) = preparation(sight) {
        // Nobody will tell the task's container, which would wait for as long as preparing may take.
        return Step::Failed(failure);
    }
    let running = task == Some(&ContainerSight::Running);
    if !running && elapsed >= bounds.start {
        return Step::Failed(explain::not_started(sight));
    }
    if elapsed >= bounds.whole {
        let message = format!("the task did not end within {} s", bounds.whole.as_secs());
        return Step::Failed(
            Failure::new(FailureKind::Deadline, message)
                .hint("its runner does not keep the task's own time limit: is the node overloaded?"),
        );
    }
    if running { Step::Follow } else { Step::Wait }
}

/// What the driver wants of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Will {
    /// That it runs.
    Run,
    /// That it ends: somebody has cancelled it.
    Cancel,
}

/// Reads what the task's container left.
///
/// A runner that was told to end says "cancelled"; where nobody cancelled the task, the cluster has told it.
///
/// # Errors
/// There is no report, or it ended because of the cluster.
pub fn report(ended: &Ended, sight: &Sight, will: Will) -> Result<RunReport, Failure> {
    let mut report: RunReport = explain::report(ended, sight)?;
    let lost = explain::lost(ended);
    if let RunReport::Finished { end, .. } = &mut report
        && was_told(end, sight.kind == Kind::Workflow || lost.is_some())
    {
        let why = explain::hopeless(sight).or(lost);
        match (will, why, &end) {
            (Will::Cancel, ..) => *end = End::Cancelled,
            (Will::Run, Some(failure), _) => return Err(failure),
            (Will::Run, None, End::Cancelled) => return Err(explain::told_to_end()),
            (Will::Run, None, _) => {}
        }
    }
    Ok(report)
}

/// True for the end of a task that was told to end. Argo's program and a node that goes down tell `every` process of a
/// container at once, so the user's may be gone before the runner has heard of it.
fn was_told(end: &End, every: bool) -> bool {
    const SIGTERM: i32 = 15;
    match end {
        End::Cancelled => true,
        End::Signaled { signal } => every && *signal == SIGTERM,
        _ => false,
    }
}

/// True where a report of which the container's end is not known yet says all there is to know: the program came to a
/// good end by itself, or never began. Of anything else the container's state may say why.
pub fn tells_all(ended: &Ended) -> bool {
    matches!(
        serde_json::from_str(&ended.message),
        Ok(RunReport::Missed { .. }
            | RunReport::Finished {
                end: End::Exited { code: 0 },
                ..
            })
    )
}

/// What became of the preparation, once that is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Preparation {
    /// There is none in this pod.
    None,
    /// It goes on.
    Going,
    /// It has ended and left this.
    Ended(Box<PrepareReport>),
    /// It ended before it could tell the task's container anything.
    Lost(Failure),
    /// It ended in the middle of publishing, after the task's container had been told.
    Unpublished(Failure),
}

/// Looks at the preparing container.
pub fn preparation(sight: &Sight) -> Preparation {
    let Some(pod) = &sight.pod else {
        return Preparation::Going;
    };
    match &pod.prepare {
        ContainerSight::Ended(ended) => match serde_json::from_str(&ended.message) {
            Ok(PrepareReport::HandedOver) => Preparation::Unpublished(prepare_lost(explain::no_report(ended, sight))),
            Ok(report) => Preparation::Ended(Box::new(report)),
            Err(_) => Preparation::Lost(prepare_lost(explain::no_report(ended, sight))),
        },
        ContainerSight::Unknown if pod.task.ended().is_some() => Preparation::None,
        _ if sight.is_over() => {
            let message = "the preparing container was ended with its pod";
            Preparation::Unpublished(explain::hopeless(sight).unwrap_or(Failure::new(FailureKind::Evicted, message)))
        }
        _ => Preparation::Going,
    }
}

fn prepare_lost(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::OutOfMemory => Failure::new(
            FailureKind::OutOfMemory,
            "preparing the task's packages wanted more memory than its limit, and the kernel ended it",
        )
        .hint("raise the memory limit of the preparing container's resources"),
        _ => Failure {
            message: format!("preparing: {}", failure.message),
            ..failure
        },
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
