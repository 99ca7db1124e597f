//! A workload of any kind, as the driver creates, reads and deletes it.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::kube::workload::kind::WorkloadKind;
use crate::kube::workload::state::{WorkloadObject, WorkloadState};
use crate::kube::workload::workflow::Workflow;

/// A Job, a Workflow or a claimed standby pod.
#[derive(Clone, Debug)]
pub enum Workload {
    /// A Job of Kubernetes.
    Job(Box<Job>),
    /// A Workflow of Argo.
    Workflow(Box<Workflow>),
    /// A standby pod that was claimed.
    Pod(Box<Pod>),
}

impl Workload {
    /// Its kind.
    pub fn kind(&self) -> WorkloadKind {
        match self {
            Workload::Job(_) => WorkloadKind::Job,
            Workload::Workflow(_) => WorkloadKind::Workflow,
            Workload::Pod(_) => WorkloadKind::Pod,
        }
    }

    /// Name, labels, annotations.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Workload::Job(job) => &job.metadata,
            Workload::Workflow(workflow) => &workflow.metadata,
            Workload::Pod(pod) => &pod.metadata,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// One of its annotations.
    pub fn annotation(&self, name: &str) -> Option<&String> {
        self.metadata().annotations.as_ref()?.get(name)
    }

    /// One of its labels.
    pub fn label(&self, name: &str) -> Option<&String> {
        self.metadata().labels.as_ref()?.get(name)
    }

    /// A reference that makes Kubernetes delete another object together with this one.
    pub fn as_owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.kind().api_version().to_owned(),
            kind: self.kind().name().to_owned(),
            name: self.name().to_owned(),
            uid: self.metadata().uid.clone().unwrap_or_default(),
            // The owner may be deleted without waiting for the Secret.
            block_owner_deletion: Some(false),
            controller: None,
        }
    }
}

impl WorkloadObject for Workload {
    fn state(&self) -> WorkloadState {
        match self {
            Workload::Job(job) => job.state(),
            Workload::Workflow(workflow) => workflow.state(),
            // Its own state says everything.
            Workload::Pod(_) => WorkloadState::Active,
        }
    }

    fn pod_refusal(&self) -> Option<String> {
        match self {
            Workload::Job(job) => job.pod_refusal(),
            Workload::Workflow(workflow) => workflow.pod_refusal(),
            Workload::Pod(_) => None,
        }
    }
}

impl From<Job> for Workload {
    fn from(job: Job) -> Workload {
        Workload::Job(Box::new(job))
    }
}

impl From<Pod> for Workload {
    fn from(pod: Pod) -> Workload {
        Workload::Pod(Box::new(pod))
    }
}

impl From<Workflow> for Workload {
    fn from(workflow: Workflow) -> Workload {
        Workload::Workflow(Box::new(workflow))
    }
}
