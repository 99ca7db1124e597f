//! Names and labels of a ticket's workloads, Secrets and pods, and which task an object belongs to.

use std::collections::BTreeMap;

use hybrid_cache_model::{Failure, FailureKind};
use k8s_openapi::api::core::v1::Pod;

use crate::ids;

/// Label with the value [`MANAGER`] on everything that this driver creates.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "hybrid-cache";
/// Label that says what an object is for.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label with a ticket's id; all attempts of a task carry the same.
pub const TASK: &str = "hybrid-cache.dev/task";
/// Annotation of a workload: the variant of its pod.
pub const POD_VARIANT: &str = "hybrid-cache.dev/form";
/// Annotation of a workload: the epoch whose caches it uses; absent for the standing caches.
pub const EPOCH: &str = "hybrid-cache.dev/epoch";
/// Annotation of a workload, not of its pod unless that was a standby pod: the token that marks its runner's report in the log.
pub const TRAILER: &str = "hybrid-cache.dev/trailer";
/// Label of a standby pod that waits, and of its ReplicaSet: the name of its pool. A claim removes it.
pub const STANDBY: &str = "hybrid-cache.dev/standby";
/// Annotation of a standby pod, set by its claim: seconds since 1970 after which anyone may delete it.
pub const CLAIMED_UNTIL: &str = "hybrid-cache.dev/claimed-until";
/// Annotation of a ReplicaSet of standby pods: the tenant whose caches its pods mount.
pub const TENANT: &str = "hybrid-cache.dev/tenant";
/// Annotation of a ReplicaSet whose standby pods prepare an interpreter: the packages that it is for.
pub const PREPARED: &str = "hybrid-cache.dev/prepared";
/// Annotation of a ReplicaSet of standby pods: seconds since 1970 when a driver last used it.
pub const USED_AT: &str = "hybrid-cache.dev/used-at";
/// Label of each pod that mounts the volumes of a set and of its workload, and annotation of each task's workload: the set's
/// name. Absent if there is one set.
pub const SET: &str = "hybrid-cache.dev/set";
/// Label of a pod of a Job, set by Kubernetes.
pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Label of a pod of a Workflow, set by Argo.
pub const WORKFLOW_NAME: &str = "workflows.argoproj.io/workflow";
/// Container that runs the task, or the command in a maintenance pod.
pub const TASK_CONTAINER: &str = "task";
/// Container that prepares.
pub const PREPARE_CONTAINER: &str = "prepare";
/// Container that runs code of packages to build them.
pub const BUILD_CONTAINER: &str = "build";

/// What a workload is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// It runs a task.
    Task,
    /// It looks after the volumes.
    Maintenance,
    /// It waits for a task.
    Standby,
}

impl Component {
    /// The value of [`COMPONENT`].
    pub fn value(self) -> &'static str {
        match self {
            Component::Task => "task",
            Component::Maintenance => "maintenance",
            Component::Standby => "standby",
        }
    }
}

/// The labels of everything that belongs to a task.
pub fn labels(component: Component, id: &str) -> BTreeMap<String, String> {
    let pairs = [(MANAGED_BY, MANAGER), (COMPONENT, component.value()), (TASK, id)];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Selects everything that this driver creates.
pub fn selector() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// Which of a task's workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attempt {
    /// The first one, of either variant.
    First,
    /// Prepared, after the first one missed.
    Prepared,
    /// Prepared on another volume set, after the first one or the prepared one got no node.
    Moved,
    /// Prepared with a container that builds, after a package was found to have no wheel.
    Building,
    /// With stale environments, after the index could not be reached.
    Stale,
}

impl Attempt {
    /// All of them, in the order in which they come.
    pub const ALL: [Attempt; 5] = [
        Attempt::First,
        Attempt::Prepared,
        Attempt::Moved,
        Attempt::Building,
        Attempt::Stale,
    ];

    /// The name of the workload and of its Secret.
    pub fn workload_name(self, id: &str) -> String {
        match self {
            Attempt::First => id.to_owned(),
            Attempt::Prepared => format!("{id}-p"),
            Attempt::Moved => format!("{id}-m"),
            Attempt::Building => format!("{id}-b"),
            Attempt::Stale => format!("{id}-s"),
        }
    }
}

/// The name of the workload that a pod belongs to, from the controller's label. A claimed standby pod is a workload itself.
pub fn workload_of(pod: &Pod) -> Option<&String> {
    let labels = pod.metadata.labels.as_ref()?;
    let of_controller = labels.get(JOB_NAME).or_else(|| labels.get(WORKFLOW_NAME));
    of_controller.or_else(|| {
        claimed_until(pod)?;
        pod.metadata.name.as_ref()
    })
}

/// The pool of a standby pod that waits.
pub fn standby_pool(pod: &Pod) -> Option<&String> {
    pod.metadata.labels.as_ref()?.get(STANDBY)
}

/// Until when a standby pod is claimed, in seconds since 1970; `None` if it is none, or not claimed.
pub fn claimed_until(pod: &Pod) -> Option<i64> {
    pod.metadata.annotations.as_ref()?.get(CLAIMED_UNTIL)?.parse().ok()
}

/// The name of the Job that a pod of this name belongs to: Kubernetes appends a dash and five characters.
pub fn job_of_pod(pod: &str) -> Option<&str> {
    pod.rsplit_once('-').map(|(job, _)| job)
}

/// Checks an id that a caller supplies: it becomes the name of a workload and the value of a label.
///
/// # Errors
/// Kubernetes does not accept the id.
pub fn check_id(id: &str) -> Result<(), Failure> {
    if ids::is_valid(id) && !id.ends_with('-') {
        return Ok(());
    }
    let message = format!("{id:?} cannot be a task's id on Kubernetes");
    Err(Failure::new(FailureKind::InvalidTask, message).hint(format!(
        "use lower-case letters, digits and `-`, beginning with a letter, {} characters at most",
        ids::MAX_ID_BYTES
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_are_names_that_kubernetes_accepts() {
        for _ in 0..1000 {
            check_id(&ids::unique("task")).unwrap();
        }
    }

    #[test]
    fn a_pod_is_known_by_its_job_for_every_attempt() {
        for attempt in Attempt::ALL {
            let job = attempt.workload_name("task-abc");
            assert_eq!(job_of_pod(&format!("{job}-x7k2q")), Some(job.as_str()));
        }
    }

    #[test]
    fn ids_that_are_not_names_are_refused() {
        for id in ["", "A", "1a", "a_b", "a-", "../x", &"a".repeat(51)] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        check_id(&"a".repeat(50)).unwrap();
    }
}
