//! What the watches have shown of one workload (a Job, or a Workflow of Argo) and its pod: read out of Kubernetes' objects by pure code, newest state only.
//!
//! Watches re-list and repeat themselves; whatever they show again changes nothing, and nothing goes back in time: a
//! container that has been seen to end stays ended.

use std::time::Instant;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerState as KubeState, Event, Pod};

use super::names::{PREPARE_CONTAINER, TASK_CONTAINER};
use super::workload::{Carrier, Kind};

/// Warnings that are kept of one task, the latest of each reason.
const MAX_WARNINGS: usize = 8;
/// Reason of the warning that a workload's pod cannot be made: the Job controller's own.
pub const NO_POD: &str = "FailedCreate";

/// Everything the watches have shown of one workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// Which kind of workload.
    pub kind: Kind,
    /// Its state.
    pub workload: WorkloadState,
    /// Its pod; `None` before its controller has made it.
    pub pod: Option<PodSight>,
    /// True once the pod was there and is gone.
    pub pod_gone: bool,
    /// True once the pod was asked for directly, because of what the workload says.
    pub asked: bool,
    /// What went wrong around it, the latest of each reason.
    pub warnings: Vec<Warning>,
    /// When the driver first learned of what it measures.
    pub seen: Seen,
}

/// Moments on the driver's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The workload is there.
    pub workload: Option<Instant>,
    /// So is its pod.
    pub pod: Option<Instant>,
    /// The pod has a node.
    pub scheduled: Option<Instant>,
    /// The task's container has ended.
    pub task_ended: Option<Instant>,
    /// The pod has been found to have no place.
    pub unschedulable: Option<Instant>,
}

/// The state of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WorkloadState {
    /// The watch has not shown it yet.
    #[default]
    Unseen,
    /// It is there.
    Active,
    /// It has ended well.
    Complete,
    /// It has failed, in Kubernetes' eyes.
    Failed {
        /// Its controller's word for it: `DeadlineExceeded`, `BackoffLimitExceeded`…
        reason: String,
        /// Its sentence.
        message: String,
    },
    /// Somebody is deleting it, or it is deleted.
    Gone,
}

/// The state of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSight {
    /// Its name.
    pub name: String,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Why the scheduler finds no node, in its own words.
    pub unschedulable: Option<String>,
    /// True where it is being deleted.
    pub deleting: bool,
    /// `Failed`, `Running`…
    pub phase: String,
    /// `Evicted`, `NodeLost`…; empty where all is well.
    pub reason: String,
    /// Kubernetes' sentence about it.
    pub message: String,
    /// Why a node or the scheduler ended it: reason and message of the condition `DisruptionTarget`.
    pub disrupted: Option<(String, String)>,
    /// The container that goes ahead of the others, where there is one: Argo's.
    pub init: ContainerSight,
    /// The container that runs the task.
    pub task: ContainerSight,
    /// The container that prepares, where there is one.
    pub prepare: ContainerSight,
}

impl WorkloadState {
    /// True where a watch has shown it and not yet shown its end.
    pub fn was_there(&self) -> bool {
        !matches!(self, WorkloadState::Unseen | WorkloadState::Gone)
    }

    /// True where its controller counts it as ended.
    pub fn has_ended(&self) -> bool {
        matches!(self, WorkloadState::Complete | WorkloadState::Failed { .. })
    }

    /// Of a Job.
    pub fn of_job(job: &Job) -> WorkloadState {
        if job.metadata.deletion_timestamp.is_some() {
            return WorkloadState::Gone;
        }
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let held = conditions.filter(|condition| condition.status == "True");
        let mut state = WorkloadState::Active;
        for condition in held {
            match condition.type_.as_str() {
                "Complete" | "SuccessCriteriaMet" => state = WorkloadState::Complete,
                "Failed" | "FailureTarget" => {
                    state = WorkloadState::Failed {
                        reason: condition.reason.clone().unwrap_or_default(),
                        message: condition.message.clone().unwrap_or_default(),
                    };
                }
                _ => {}
            }
        }
        state
    }
}

impl PodSight {
    /// The containers of the pod that the task depends on.
    pub fn containers(&self) -> [&ContainerSight; 3] {
        [&self.init, &self.task, &self.prepare]
    }
}

/// The state of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerSight {
    /// There is none of that name, or the kubelet has said nothing of it.
    #[default]
    Unknown,
    /// It has not started.
    Waiting {
        /// `ContainerCreating`, `ErrImagePull`…
        reason: String,
        /// The kubelet's sentence.
        message: String,
    },
    /// It runs.
    Running,
    /// It has ended.
    Ended(Ended),
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `ContainerStatusUnknown`…
    pub reason: String,
    /// What it left as its termination message.
    pub message: String,
}

impl ContainerSight {
    /// How it ended, once it has.
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            ContainerSight::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    fn read(state: Option<&KubeState>) -> ContainerSight {
        let Some(state) = state else {
            return ContainerSight::Unknown;
        };
        if let Some(ended) = &state.terminated {
            return ContainerSight::Ended(Ended {
                code: ended.exit_code,
                reason: ended.reason.clone().unwrap_or_default(),
                message: ended.message.clone().unwrap_or_default(),
            });
        }
        if state.running.is_some() {
            return ContainerSight::Running;
        }
        let waiting = state.waiting.clone().unwrap_or_default();
        ContainerSight::Waiting {
            reason: waiting.reason.unwrap_or_default(),
            message: waiting.message.unwrap_or_default(),
        }
    }
}

/// A warning event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// `FailedCreate`, `FailedMount`, `FailedScheduling`…
    pub reason: String,
    /// The sentence of whoever raised it.
    pub message: String,
}

impl Sight {
    /// Takes in what a watch showed of the workload, `at` that moment.
    pub fn see_workload(&mut self, carrier: &impl Carrier, at: Instant) {
        self.seen.workload.get_or_insert(at);
        if self.workload != WorkloadState::Gone {
            self.workload = carrier.state();
        }
        if let Some(message) = carrier.without_pod().filter(|_| self.pod.is_none()) {
            self.warn(Warning {
                reason: NO_POD.to_owned(),
                message,
            });
        }
    }

    /// Takes in that there is no such workload any more.
    pub fn lose_workload(&mut self) {
        self.workload = WorkloadState::Gone;
    }

    /// Takes in what a watch showed of the pod, `at` that moment.
    pub fn see_pod(&mut self, pod: &Pod, at: Instant) {
        let news = PodSight::read(pod);
        if let Some(known) = &self.pod
            && (known.task.ended().is_some() && news.task.ended().is_none() || known.deleting && !news.deleting)
        {
            // An old state shown again by a re-list, or a second pod that the Job controller made for a deleted one.
            return;
        }
        self.seen.pod.get_or_insert(at);
        if news.node.is_some() {
            self.seen.scheduled.get_or_insert(at);
        }
        if news.unschedulable.is_some() {
            self.seen.unschedulable.get_or_insert(at);
        }
        if news.task.ended().is_some() {
            self.seen.task_ended.get_or_insert(at);
        }
        self.pod = Some(news);
    }

    /// Takes in that a pod is gone; it may be another one's name.
    pub fn lose_pod(&mut self, name: &str) {
        if self.pod.as_ref().is_some_and(|pod| pod.name == name) {
            self.pod_gone = true;
        }
    }

    /// Takes in a warning event.
    pub fn see_event(&mut self, event: &Event) {
        self.warn(Warning {
            reason: event.reason.clone().unwrap_or_default(),
            message: event.message.clone().unwrap_or_default(),
        });
    }

    fn warn(&mut self, warning: Warning) {
        self.warnings.retain(|known| known.reason != warning.reason);
        self.warnings.push(warning);
        if self.warnings.len() > MAX_WARNINGS {
            self.warnings.remove(0);
        }
    }

    /// The latest warning of one reason.
    pub fn warning(&self, reason: &str) -> Option<&str> {
        let found = self.warnings.iter().find(|warning| warning.reason == reason);
        found.map(|warning| warning.message.as_str())
    }

    /// True once its pod has a node, or needs none any more.
    pub fn has_place(&self) -> bool {
        self.seen.scheduled.is_some() || self.is_over() || self.workload.has_ended()
    }

    /// True where nothing more can come of this workload and its pod.
    pub fn is_over(&self) -> bool {
        let ended = |container: &ContainerSight| matches!(container, ContainerSight::Ended(_));
        self.pod_gone
            || self.pod.as_ref().is_some_and(|pod| {
                let done = matches!(pod.phase.as_str(), "Succeeded" | "Failed");
                done || ended(&pod.task) && (ended(&pod.prepare) || pod.prepare == ContainerSight::Unknown)
            })
    }
}

impl PodSight {
    /// Reads the parts that matter.
    pub fn read(pod: &Pod) -> PodSight {
        let status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
        let unschedulable = condition("PodScheduled")
            .filter(|condition| condition.status == "False")
            .map(|condition| condition.message.clone().unwrap_or_default());
        let disrupted = condition("DisruptionTarget").filter(|condition| condition.status == "True");
        let disrupted = disrupted.map(|condition| {
            let reason = condition.reason.clone().unwrap_or_default();
            (reason, condition.message.clone().unwrap_or_default())
        });
        let containers = status.container_statuses.unwrap_or_default();
        let container = |name: &str| {
            let found = containers.iter().find(|container| container.name == name);
            ContainerSight::read(found.and_then(|container| container.state.as_ref()))
        };
        let init = status.init_container_statuses.unwrap_or_default();
        let init = ContainerSight::read(init.first().and_then(|container| container.state.as_ref()));
        PodSight {
            name: pod.metadata.name.clone().unwrap_or_default(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            unschedulable,
            deleting: pod.metadata.deletion_timestamp.is_some(),
            phase: status.phase.unwrap_or_default(),
            reason: status.reason.unwrap_or_default(),
            message: status.message.unwrap_or_default(),
            disrupted,
            init,
            task: container(TASK_CONTAINER),
            prepare: container(PREPARE_CONTAINER),
        }
    }
}

#[cfg(test)]
#[path = "sight_tests.rs"]
mod tests;
