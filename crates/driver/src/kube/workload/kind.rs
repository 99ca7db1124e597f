//! The kinds of object that carry a task's pod.

use crate::kube::names;

/// Group and version of Argo's Workflows.
pub const ARGO_API_VERSION: &str = "argoproj.io/v1alpha1";

/// Job, Workflow or standby pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkloadKind {
    /// A Job of Kubernetes.
    #[default]
    Job,
    /// A Workflow of Argo.
    Workflow,
    /// A standby pod that was claimed.
    Pod,
}

impl WorkloadKind {
    /// The kind's name in the API.
    pub fn name(self) -> &'static str {
        match self {
            WorkloadKind::Job => "Job",
            WorkloadKind::Workflow => "Workflow",
            WorkloadKind::Pod => "standby pod",
        }
    }

    /// Its group and version.
    pub fn api_version(self) -> &'static str {
        match self {
            WorkloadKind::Job => "batch/v1",
            WorkloadKind::Workflow => ARGO_API_VERSION,
            WorkloadKind::Pod => "v1",
        }
    }

    /// The label that holds the workload's name on its pods. The controller sets it.
    pub fn pod_label(self) -> &'static str {
        match self {
            WorkloadKind::Job => names::JOB_NAME,
            WorkloadKind::Workflow => names::WORKFLOW_NAME,
            // It has no pod but itself.
            WorkloadKind::Pod => names::TASK,
        }
    }
}
