//! What a person chooses: which cluster, and what is done to it. Plain data; the command line makes it from its options.

use std::path::PathBuf;

use crate::names::{CLUSTER, NAMESPACE};
use crate::ranges::Range;

/// Which cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterChoice {
    /// Name of the kind cluster, if no context is given.
    pub name: String,
    /// A cluster that exists already, by its context in the user's kubeconfig.
    pub context: Option<String>,
    /// Namespace of that cluster for tasks and claims.
    pub namespace: String,
}

impl Default for ClusterChoice {
    /// The kind cluster that `up` makes by default.
    fn default() -> ClusterChoice {
        ClusterChoice {
            name: CLUSTER.to_owned(),
            context: None,
            namespace: NAMESPACE.to_owned(),
        }
    }
}

/// What runs tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// This machine, in a bubblewrap sandbox.
    Local,
    /// A Kubernetes cluster, with a Job for each task.
    Kube,
    /// A Kubernetes cluster, with a Workflow of Argo for each task.
    Argo,
}

/// What the task service in a cluster makes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceDriver {
    /// A Job.
    Kube,
    /// A Workflow of Argo. Needs what `with_argo` brings.
    Argo,
}

/// What may be deleted and made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecreatePolicy {
    /// Nothing.
    #[default]
    Never,
    /// What cannot be changed in place (`--recreate`).
    IfImmutable,
}

/// What `up` brings.
#[derive(Clone, Debug, Default)]
pub struct UpOptions {
    /// Which cluster.
    pub cluster: ClusterChoice,
    /// Only find out what would change.
    pub plan_only: bool,
    /// What may be deleted.
    pub recreate: RecreatePolicy,
    /// Node image for kind: a reference, or an archive of `docker save`. `None` takes our own if it was built, else kind's default.
    pub node_image: Option<String>,
    /// StorageClass that provides the volumes. `None` keeps what is there; a new kind cluster gets folders of its node.
    pub storage_class: Option<String>,
    /// Folder of this machine that keeps the volumes of a kind cluster. `None` is one in the user's cache folder.
    pub volumes_dir: Option<PathBuf>,
    /// Addresses that are closed to tasks beside those that the cluster reports. Empty keeps those of the last time.
    pub closed_ranges: Vec<Range>,
    /// Size of the claim for Python environments, in Kubernetes' notation. `None` keeps it, or takes the manifest's.
    pub python_size: Option<String>,
    /// Size of the claim for system packages, likewise.
    pub system_size: Option<String>,
    /// Run no task afterwards.
    pub no_smoke_test: bool,
    /// Bring Argo Workflows.
    pub with_argo: bool,
    /// Run the task service in the cluster.
    pub with_service: Option<ServiceDriver>,
}

impl UpOptions {
    /// True if Argo Workflows is wanted, for itself or for the service.
    pub fn wants_argo(&self) -> bool {
        self.with_argo || self.with_service == Some(ServiceDriver::Argo)
    }
}

/// What `down` deletes.
#[derive(Clone, Debug, Default)]
pub struct DownOptions {
    /// Which cluster.
    pub cluster: ClusterChoice,
    /// Delete the caches as well.
    pub volumes: bool,
    /// Delete the tasks that the task service keeps in the cluster as well.
    pub service_data: bool,
}

/// What `doctor` looks at.
#[derive(Clone, Debug, Default)]
pub struct DoctorOptions {
    /// Which cluster.
    pub cluster: ClusterChoice,
    /// System packages whose names are looked up.
    pub system: Vec<String>,
    /// Run no task.
    pub no_smoke_test: bool,
}
