//! Options of the cluster's commands: which cluster, and what is done to it. Plain data; the command line fills it in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hybrid_cache_driver::kube::{StandbyRange, StandbyRangeError};
use hybrid_cache_model::quantity;

use crate::names::{CLUSTER, NAMESPACE};
use crate::ranges::Range;

/// Least size of a claim, in bytes.
const LEAST_CLAIM_BYTES: u64 = 1 << 30;

/// Which cluster to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterChoice {
    /// Name of the kind cluster, if no context is given.
    pub name: String,
    /// Context in the user's kubeconfig, for a cluster that exists already.
    pub context: Option<String>,
    /// Namespace for tasks and claims in that cluster.
    pub namespace: String,
    /// The operator's settings file; `None` is the one that the variable names, or none.
    pub settings: Option<PathBuf>,
    /// Which standby pods its driver has.
    pub standby: StandbyChoice,
}

/// Which standby pods a driver on a cluster has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StandbyChoice {
    /// None, whatever is recorded in the cluster.
    #[default]
    None,
    /// As many as the last `up` recorded in the cluster.
    Recorded,
    /// This many.
    Pods(StandbyRange),
}

impl FromStr for StandbyChoice {
    type Err = String;

    /// Reads what a user writes: `none`, `4` or `2..8`.
    fn from_str(text: &str) -> Result<StandbyChoice, String> {
        if text == "none" {
            return Ok(StandbyChoice::None);
        }
        match text.parse() {
            Ok(range) => Ok(StandbyChoice::Pods(range)),
            Err(StandbyRangeError::None) => Err("0 standby pods are none: write `none`".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl fmt::Display for StandbyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StandbyChoice::None => f.write_str("none"),
            StandbyChoice::Recorded => f.write_str("as recorded"),
            StandbyChoice::Pods(range) => range.fmt(f),
        }
    }
}

impl Default for ClusterChoice {
    /// The kind cluster that `up` makes by default.
    fn default() -> ClusterChoice {
        ClusterChoice {
            name: CLUSTER.to_owned(),
            context: None,
            namespace: NAMESPACE.to_owned(),
            settings: None,
            standby: StandbyChoice::None,
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

/// What the task service in a cluster creates for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceDriver {
    /// A Job.
    Kube,
    /// A Workflow of Argo. Needs `with_argo`.
    Argo,
}

/// What may be deleted and created again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecreatePolicy {
    /// Nothing.
    #[default]
    Never,
    /// What cannot be changed in place (`--recreate`).
    IfImmutable,
}

/// Reads the size of a claim in Kubernetes' notation.
///
/// # Errors
/// It is none, or no environment would fit.
pub fn claim_size(text: &str) -> Result<String, String> {
    match quantity::bytes(text) {
        Some(bytes) if bytes >= LEAST_CLAIM_BYTES => Ok(text.to_owned()),
        Some(_) => Err("no environment fits into less than 1Gi".to_owned()),
        None => Err("write it as Kubernetes does: 20Gi, 512Mi or a number of bytes".to_owned()),
    }
}

/// Options of `up`.
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
    /// Volume sets to have. `None` keeps as many as there are, or makes one.
    pub volume_sets: Option<u32>,
    /// Worker nodes of a kind cluster; 0 for a control plane that runs tasks. `None` takes as many as the last time, or 0.
    pub workers: Option<u32>,
    /// Folder of this machine that keeps the volumes of a kind cluster. `None` is one in the user's cache folder.
    pub volumes_dir: Option<PathBuf>,
    /// Addresses that are closed to tasks in addition to those that the cluster reports. Empty keeps those of the last `up`.
    pub closed_ranges: Vec<Range>,
    /// Size of the claim for Python environments, in Kubernetes' notation. `None` keeps the size, or takes the manifest's.
    pub python_size: Option<String>,
    /// Size of the claim for system packages, in the same notation and with the same default.
    pub system_size: Option<String>,
    /// Do not run a task afterwards.
    pub no_smoke_test: bool,
    /// Install Argo Workflows.
    pub with_argo: bool,
    /// Run the task service in the cluster.
    pub with_service: Option<ServiceDriver>,
}

impl UpOptions {
    /// True if Argo Workflows is needed, by itself or for the service.
    pub fn wants_argo(&self) -> bool {
        self.with_argo || self.with_service == Some(ServiceDriver::Argo)
    }
}

/// Options of `down`.
#[derive(Clone, Debug, Default)]
pub struct DownOptions {
    /// Which cluster.
    pub cluster: ClusterChoice,
    /// Delete the caches as well.
    pub volumes: bool,
    /// Delete the tasks that the task service keeps in the cluster as well.
    pub service_data: bool,
}

/// Options of `doctor`.
#[derive(Clone, Debug, Default)]
pub struct DoctorOptions {
    /// Which cluster.
    pub cluster: ClusterChoice,
    /// System packages whose names are looked up.
    pub system: Vec<String>,
    /// Do not run a task.
    pub no_smoke_test: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standby_pods_are_none_a_number_or_a_range() {
        let range = |text: &str| StandbyChoice::Pods(text.parse().unwrap());
        assert_eq!("none".parse(), Ok(StandbyChoice::None));
        assert_eq!("4".parse(), Ok(range("4")));
        assert_eq!("2..8".parse(), Ok(range("2..8")));
        for text in ["none", "4", "2..8"] {
            assert_eq!(text.parse::<StandbyChoice>().unwrap().to_string(), text);
        }
        for (text, reason) in [
            ("0", "write `none`"),
            ("8..2", "ends below its beginning"),
            ("many", "not a number of standby pods"),
            ("501", "more than 500"),
        ] {
            let refused = text.parse::<StandbyChoice>().unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
