//! The observed state of one workload (a Job or an Argo Workflow) and its pod. Pure code reduces watch events to the newest
//! state.
//!
//! Watches re-list and repeat themselves. A repeated event changes nothing, and no event goes back in time: a container
//! that was seen to end stays ended.

use std::time::Instant;

use k8s_openapi::api::core::v1::{ContainerState as KubeState, Event, Pod};

use crate::kube::names::{PREPARE_CONTAINER, TASK_CONTAINER};
use crate::kube::workload::kind::WorkloadKind;
use crate::kube::workload::state::{WorkloadObject, WorkloadState};

/// Most warnings that are kept of one workload, the latest of each reason.
const MAX_WARNINGS: usize = 8;
/// Reason of the warning that a workload's pod cannot be created, as the Job controller gives it.
pub const NO_POD: &str = "FailedCreate";

/// The observed state of one workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedWorkload {
    /// Job or Workflow.
    pub kind: WorkloadKind,
    /// Its state.
    pub workload: WorkloadState,
    /// Its pod; `None` before its controller has created it.
    pub pod: Option<ObservedPod>,
    /// True once the pod existed and is gone.
    pub pod_gone: bool,
    /// True once the driver has fetched the pod directly, because the workload reported something that the pod watch has
    /// not shown.
    pub pod_fetched: bool,
    /// Warning events about the workload and its pod, the latest of each reason.
    pub warnings: Vec<Warning>,
    /// When the driver first saw each step that it measures.
    pub first_seen: FirstSeen,
}

/// When the driver first saw each step; `None` if it has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstSeen {
    /// The workload exists.
    pub workload: Option<Instant>,
    /// Its pod exists.
    pub pod: Option<Instant>,
    /// The pod has a node.
    pub scheduled: Option<Instant>,
    /// The task's container has ended.
    pub task_ended: Option<Instant>,
    /// The scheduler found no node for the pod.
    pub unschedulable: Option<Instant>,
}

/// The state of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedPod {
    /// Its name.
    pub name: String,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Why the scheduler finds no node, in its words.
    pub unschedulable: Option<String>,
    /// True while it is being deleted.
    pub deleting: bool,
    /// The pod's phase, such as `Running` or `Failed`.
    pub phase: String,
    /// Why it failed, such as `Evicted` or `NodeLost`; empty if it did not.
    pub reason: String,
    /// Kubernetes' message about that.
    pub message: String,
    /// Why a node or the scheduler ended it: reason and message of the condition `DisruptionTarget`.
    pub disrupted: Option<(String, String)>,
    /// The container that runs before the others, if there is one: Argo's.
    pub init: ObservedContainer,
    /// The container that runs the task.
    pub task: ObservedContainer,
    /// The container that prepares, if there is one.
    pub prepare: ObservedContainer,
    /// True if Kubernetes has started the task's container again, as it does in standby pods alone.
    pub was_restarted: bool,
}

impl ObservedPod {
    /// The containers of the pod that the task depends on.
    pub fn containers(&self) -> [&ObservedContainer; 3] {
        [&self.init, &self.task, &self.prepare]
    }
}

/// The state of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ObservedContainer {
    /// There is none of that name, or the kubelet has not reported it.
    #[default]
    Unknown,
    /// It has not started.
    Waiting {
        /// The reason, such as `ContainerCreating` or `ErrImagePull`.
        reason: String,
        /// The kubelet's message.
        message: String,
    },
    /// It is running.
    Running,
    /// It has ended.
    Ended(ContainerEnd),
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerEnd {
    /// Its exit code.
    pub code: i32,
    /// The reason, such as `Completed`, `Error`, `OOMKilled` or `ContainerStatusUnknown`.
    pub reason: String,
    /// Its termination message.
    pub message: String,
}

impl ObservedContainer {
    /// How it ended; `None` while it has not.
    pub fn ended(&self) -> Option<&ContainerEnd> {
        match self {
            ObservedContainer::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    fn from_state(state: Option<&KubeState>) -> ObservedContainer {
        let Some(state) = state else {
            return ObservedContainer::Unknown;
        };
        if let Some(ended) = &state.terminated {
            return ObservedContainer::Ended(ContainerEnd {
                code: ended.exit_code,
                reason: ended.reason.clone().unwrap_or_default(),
                message: ended.message.clone().unwrap_or_default(),
            });
        }
        if state.running.is_some() {
            return ObservedContainer::Running;
        }
        let waiting = state.waiting.clone().unwrap_or_default();
        ObservedContainer::Waiting {
            reason: waiting.reason.unwrap_or_default(),
            message: waiting.message.unwrap_or_default(),
        }
    }
}

/// A warning event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The reason, such as `FailedCreate`, `FailedMount` or `FailedScheduling`.
    pub reason: String,
    /// The message.
    pub message: String,
}

impl ObservedWorkload {
    /// Applies what a watch showed of the workload at `at`.
    pub fn apply_workload(&mut self, object: &impl WorkloadObject, at: Instant) {
        self.first_seen.workload.get_or_insert(at);
        if self.workload != WorkloadState::Gone {
            self.workload = object.state();
        }
        if let Some(message) = object.pod_refusal().filter(|_| self.pod.is_none()) {
            self.warn(Warning {
                reason: NO_POD.to_owned(),
                message,
            });
        }
    }

    /// Notes that the workload no longer exists.
    pub fn workload_deleted(&mut self) {
        self.workload = WorkloadState::Gone;
    }

    /// Applies what a watch showed of the pod at `at`.
    pub fn apply_pod(&mut self, pod: &Pod, at: Instant) {
        let news = ObservedPod::from_pod(pod);
        if let Some(known) = &self.pod
            && (known.task.ended().is_some() && news.task.ended().is_none() || known.deleting && !news.deleting)
        {
            // A re-list shows an old state again, or the Job controller has created a second pod for a deleted one.
            return;
        }
        self.first_seen.pod.get_or_insert(at);
        if news.node.is_some() {
            self.first_seen.scheduled.get_or_insert(at);
        }
        if news.unschedulable.is_some() {
            self.first_seen.unschedulable.get_or_insert(at);
        }
        if news.task.ended().is_some() {
            self.first_seen.task_ended.get_or_insert(at);
        }
        self.pod = Some(news);
    }

    /// Notes that a pod is gone. Ignores the pod of another workload.
    pub fn pod_deleted(&mut self, name: &str) {
        if self.pod.as_ref().is_some_and(|pod| pod.name == name) {
            self.pod_gone = true;
        }
    }

    /// Notes a warning event.
    pub fn apply_event(&mut self, event: &Event) {
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

    /// True once the pod has a node, or no longer needs one.
    pub fn has_place(&self) -> bool {
        self.first_seen.scheduled.is_some() || self.is_over() || self.workload.has_ended()
    }

    /// True if nothing more can happen to this workload and its pod.
    pub fn is_over(&self) -> bool {
        let ended = |container: &ObservedContainer| matches!(container, ObservedContainer::Ended(_));
        self.pod_gone
            || self.pod.as_ref().is_some_and(|pod| {
                let done = matches!(pod.phase.as_str(), "Succeeded" | "Failed");
                done || ended(&pod.task) && (ended(&pod.prepare) || pod.prepare == ObservedContainer::Unknown)
            })
    }
}

impl ObservedPod {
    /// Reads what the driver needs.
    fn from_pod(pod: &Pod) -> ObservedPod {
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
            // Only the containers of standby pods are started again, and the second start runs no task.
            let first_end = found
                .and_then(|container| container.last_state.as_ref())
                .filter(|state| state.terminated.is_some());
            ObservedContainer::from_state(first_end.or(found.and_then(|container| container.state.as_ref())))
        };
        let init = status.init_container_statuses.unwrap_or_default();
        let init = ObservedContainer::from_state(init.first().and_then(|container| container.state.as_ref()));
        ObservedPod {
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
            was_restarted: containers.iter().any(|container| container.restart_count > 0),
        }
    }
}

#[cfg(test)]
mod tests;
