//! The next step for one workload, decided by pure code from its observed state, so that every case can be tested.

use std::time::Duration;

use hybrid_cache_model::pod::PrepareReport;
use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::{End, Failure, FailureKind};

use crate::kube::observe::explain;
use crate::kube::observe::observed::{ContainerEnd, ObservedContainer, ObservedWorkload};
use crate::kube::workload::kind::WorkloadKind;

/// A restarted kubelet retries to mount volumes after pauses that double up to 122 s (its `nestedpendingoperations`).
const REMOUNT_TIME: Duration = Duration::from_secs(150);

/// How long a workload may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until its container runs.
    pub start: Duration,
    /// Until its container has ended.
    pub whole: Duration,
}

impl Bounds {
    /// Longer by what a restarted node needs to start the task's pod.
    pub fn after_restart(self, observed: &ObservedWorkload) -> Bounds {
        if explain::kubelet_restarted(observed) {
            Bounds {
                start: self.start.saturating_add(REMOUNT_TIME).min(self.whole),
                ..self
            }
        } else {
            self
        }
    }

    /// How long until the next check if no watch shows anything.
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
    /// The workload reports something that the pod watch has not shown (yet): fetch the pod, once.
    FetchPod,
    /// The task's container is running: follow its log.
    Follow,
    /// The task's container has ended.
    Ended(ContainerEnd),
    /// The container will never start, or will never end by itself.
    Failed(Failure),
}

/// Decides the next step, `elapsed` after the workload was created.
pub fn next(observed: &ObservedWorkload, elapsed: Duration, bounds: Bounds) -> Step {
    let task = observed.pod.as_ref().map(|pod| &pod.task);
    if let Some(ObservedContainer::Ended(ended)) = task {
        return Step::Ended(ended.clone());
    }
    if observed.workload.has_ended() && !observed.pod_fetched {
        return Step::FetchPod;
    }
    if let Some(failure) = explain::permanent_failure(observed) {
        if observed.kind == WorkloadKind::Workflow && observed.pod.is_none() && !observed.pod_fetched {
            return Step::FetchPod;
        }
        // A pod that is being deleted still has its grace period to report how far the task came.
        let leaving = observed.pod.as_ref().is_some_and(|pod| pod.deleting) && !observed.pod_gone;
        return if leaving && elapsed < bounds.whole {
            Step::Wait
        } else {
            Step::Failed(failure)
        };
    }
    if let Preparation::Lost(failure) = preparation(observed) {
        // No handover will come, and the task's container would wait for as long as preparing may take.
        return Step::Failed(failure);
    }
    let running = task == Some(&ObservedContainer::Running);
    if !running && elapsed >= bounds.start {
        return Step::Failed(explain::not_started(observed));
    }
    if elapsed >= bounds.whole {
        let message = format!("the task did not end within {} s", bounds.whole.as_secs());
        return Step::Failed(
            Failure::new(FailureKind::Deadline, message)
                .hint("the runner did not keep the task's own time limit; check whether the node is overloaded"),
        );
    }
    if running { Step::Follow } else { Step::Wait }
}

/// What the driver wants of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It should run.
    Run,
    /// It should end, because someone cancelled it.
    Cancel,
}

/// Reads what the task's container reported.
///
/// A runner that receives SIGTERM reports "cancelled". If no one cancelled the task, the cluster sent the signal.
///
/// # Errors
/// There is no report, or the container ended because of the cluster.
pub fn report(ended: &ContainerEnd, observed: &ObservedWorkload, intent: Intent) -> Result<RunReport, Failure> {
    let mut report: RunReport = explain::report(ended, observed)?;
    let lost = explain::lost(ended);
    if let RunReport::Finished { end, .. } = &mut report
        && was_terminated(end, observed.kind == WorkloadKind::Workflow || lost.is_some())
    {
        let why = explain::permanent_failure(observed).or(lost);
        match (intent, why, &end) {
            (Intent::Cancel, ..) => *end = End::Cancelled,
            (Intent::Run, Some(failure), _) => return Err(failure),
            (Intent::Run, None, End::Cancelled) => return Err(explain::terminated_without_reason()),
            (Intent::Run, None, _) => {}
        }
    }
    Ok(report)
}

/// True for the end of a task that received SIGTERM. Argo's program, and a node that shuts down, send it to `every` process
/// of a container at once, so the user's process may end before the runner knows.
fn was_terminated(end: &End, every: bool) -> bool {
    const SIGTERM: i32 = 15;
    match end {
        End::Cancelled => true,
        End::Signaled { signal } => every && *signal == SIGTERM,
        _ => false,
    }
}

/// True if a report is complete without the container's state: the program succeeded, or never began. For anything else
/// the container's state may say why.
pub fn tells_all(ended: &ContainerEnd) -> bool {
    matches!(
        serde_json::from_str(&ended.message),
        Ok(RunReport::Missed { .. }
            | RunReport::Finished {
                end: End::Exited { code: 0 },
                ..
            })
    )
}

/// The state of the preparation.
#[derive(Clone, Debug, PartialEq)]
pub enum Preparation {
    /// This pod has none.
    None,
    /// It is running.
    Going,
    /// It has ended with this report.
    Ended(Box<PrepareReport>),
    /// It ended before the handover to the task's container.
    Lost(Failure),
    /// It ended after the handover, while it published.
    Unpublished(Failure),
}

/// Reads the state of the preparing container.
pub fn preparation(observed: &ObservedWorkload) -> Preparation {
    let Some(pod) = &observed.pod else {
        return Preparation::Going;
    };
    match &pod.prepare {
        ObservedContainer::Ended(ended) => match serde_json::from_str(&ended.message) {
            Ok(PrepareReport::HandedOver) => {
                Preparation::Unpublished(prepare_lost(explain::no_report(ended, observed)))
            }
            Ok(report) => Preparation::Ended(Box::new(report)),
            Err(_) => Preparation::Lost(prepare_lost(explain::no_report(ended, observed))),
        },
        ObservedContainer::Unknown if pod.task.ended().is_some() => Preparation::None,
        _ if observed.is_over() => {
            let message = "the preparing container was ended with its pod";
            Preparation::Unpublished(
                explain::permanent_failure(observed).unwrap_or(Failure::new(FailureKind::Evicted, message)),
            )
        }
        _ => Preparation::Going,
    }
}

fn prepare_lost(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::OutOfMemory => Failure::new(
            FailureKind::OutOfMemory,
            "preparing the task's packages needed more memory than its limit, and the kernel ended it",
        )
        .hint("raise the memory limit of the preparing container's resources"),
        _ => Failure {
            message: format!("preparing: {}", failure.message),
            ..failure
        },
    }
}

#[cfg(test)]
mod tests;
