//! What carries a task's pod: a Job, or a Workflow of Argo. The driver makes, watches and deletes either alike.

use hybrid_cache_model::Failure;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::names;
use super::sight::WorkloadState;
use super::workflow::{self, Workflow};

/// Which kind of object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A Job of Kubernetes.
    #[default]
    Job,
    /// A Workflow of Argo.
    Workflow,
}

impl Kind {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Job => "Job",
            Kind::Workflow => "Workflow",
        }
    }

    /// Its group and version.
    fn api_version(self) -> &'static str {
        match self {
            Kind::Job => "batch/v1",
            Kind::Workflow => workflow::API_VERSION,
        }
    }

    /// The label of its pods that holds its name, set by its controller.
    pub fn pod_label(self) -> &'static str {
        match self {
            Kind::Job => names::JOB_NAME,
            Kind::Workflow => names::WORKFLOW_NAME,
        }
    }
}

/// One of them.
#[derive(Clone, Debug)]
pub enum Workload {
    /// A Job of Kubernetes.
    Job(Box<Job>),
    /// A Workflow of Argo.
    Workflow(Box<Workflow>),
}

/// An object that a watch shows as a workload.
pub trait Carrier {
    /// How far it is.
    fn state(&self) -> WorkloadState;

    /// What keeps its controller from making a pod, in the controller's words.
    fn without_pod(&self) -> Option<String> {
        None
    }
}

impl Carrier for Job {
    fn state(&self) -> WorkloadState {
        WorkloadState::of_job(self)
    }
}

impl Workload {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Workload::Job(_) => Kind::Job,
            Workload::Workflow(_) => Kind::Workflow,
        }
    }

    /// Name, labels, annotations.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Workload::Job(job) => &job.metadata,
            Workload::Workflow(workflow) => &workflow.metadata,
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

    /// Makes an object go when this one goes.
    pub fn as_owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.kind().api_version().to_owned(),
            kind: self.kind().name().to_owned(),
            name: self.name().to_owned(),
            uid: self.metadata().uid.clone().unwrap_or_default(),
            // Nobody waits for the Secret's end before its owner may go.
            block_owner_deletion: Some(false),
            controller: None,
        }
    }
}

impl Carrier for Workload {
    fn state(&self) -> WorkloadState {
        match self {
            Workload::Job(job) => job.state(),
            Workload::Workflow(workflow) => workflow.state(),
        }
    }

    fn without_pod(&self) -> Option<String> {
        match self {
            Workload::Job(job) => job.without_pod(),
            Workload::Workflow(workflow) => workflow.without_pod(),
        }
    }
}

impl From<Job> for Workload {
    fn from(job: Job) -> Workload {
        Workload::Job(Box::new(job))
    }
}

impl From<Workflow> for Workload {
    fn from(workflow: Workflow) -> Workload {
        Workload::Workflow(Box::new(workflow))
    }
}

/// What a cluster without Argo says to whoever asks for Workflows, with the next step.
pub fn explain_absent(failure: Failure) -> Failure {
    let message = format!("{}: Argo Workflows is not installed there", failure.message);
    Failure::new(failure.kind, message)
        .hint("`cargo xtask up --with-argo` installs it; on a cluster of yours its administrator does")
}
