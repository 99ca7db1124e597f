//! Names and labels: what a ticket's Jobs, Secrets and pods are called, and which task an object belongs to.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hybrid_cache_model::{Failure, FailureKind};
use k8s_openapi::api::core::v1::Pod;

/// Label whose value is [`MANAGER`] on everything this driver makes.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub const MANAGER: &str = "hybrid-cache";
/// Label that says what an object is for.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label with a ticket's id; all attempts of a task carry the same.
pub const TASK: &str = "hybrid-cache.dev/task";
/// Annotation of a Job: which form of pod it has.
pub const FORM: &str = "hybrid-cache.dev/form";
/// Annotation of a Job: the epoch whose caches it uses; absent for the standing caches.
pub const EPOCH: &str = "hybrid-cache.dev/epoch";
/// Annotation of a Job, not of its pod: the token of its runner's report.
pub const TRAILER: &str = "hybrid-cache.dev/trailer";
/// Label of a pod of a Job, set by Kubernetes.
pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Label of a pod of a Workflow, set by Argo.
pub const WORKFLOW_NAME: &str = "workflows.argoproj.io/workflow";
/// Container that runs the task (or, in a maintenance pod, the question).
pub const TASK_CONTAINER: &str = "task";
/// Container that prepares.
pub const PREPARE_CONTAINER: &str = "prepare";

/// A pod's name ends in five characters of Kubernetes' own, and a Job's name is a label of 63 characters at most.
const MAX_ID: usize = 50;

/// What a Job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// It runs a task.
    Task,
    /// It looks after the volumes.
    Maintenance,
}

impl Component {
    /// The value of [`COMPONENT`].
    pub fn value(self) -> &'static str {
        match self {
            Component::Task => "task",
            Component::Maintenance => "maintenance",
        }
    }
}

/// The labels of everything that belongs to a task.
pub fn labels(component: Component, id: &str) -> BTreeMap<String, String> {
    let pairs = [(MANAGED_BY, MANAGER), (COMPONENT, component.value()), (TASK, id)];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Selects all that this driver makes.
pub fn selector() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// Which of a task's Jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attempt {
    /// The first one, whatever its form.
    First,
    /// Prepared, after the first one missed.
    Prepared,
    /// With whatever is there, after the index could not be reached.
    Stale,
}

impl Attempt {
    /// All of them, in the order in which they come.
    pub const ALL: [Attempt; 3] = [Attempt::First, Attempt::Prepared, Attempt::Stale];

    /// The name of its Job and of its Secret.
    pub fn job(self, id: &str) -> String {
        match self {
            Attempt::First => id.to_owned(),
            Attempt::Prepared => format!("{id}-p"),
            Attempt::Stale => format!("{id}-s"),
        }
    }
}

/// The workload that a pod belongs to, as its controller says.
pub fn workload_of(pod: &Pod) -> Option<&String> {
    let labels = pod.metadata.labels.as_ref()?;
    labels.get(JOB_NAME).or_else(|| labels.get(WORKFLOW_NAME))
}

/// The Job that a pod of this name belongs to: Kubernetes appends a dash and five characters.
pub fn job_of_pod(pod: &str) -> Option<&str> {
    pod.rsplit_once('-').map(|(job, _)| job)
}

/// A new id: `task-` and ten characters of base32.
pub fn unique(prefix: &str) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The keys of a RandomState are random for each process; nobody has to be kept from guessing the name.
    let mut bits = RandomState::new().hash_one((time, count, std::process::id()));
    let mut text = format!("{prefix}-");
    for _ in 0..10 {
        text.push(char::from(DIGITS[usize::from((bits & 31) as u8)]));
        bits >>= 5;
    }
    text
}

/// Checks an id that a caller supplies: it becomes the name of a Job and the value of a label.
///
/// # Errors
/// It is none that Kubernetes takes.
pub fn check(id: &str) -> Result<(), Failure> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.len() <= MAX_ID
        && id.chars().all(inner);
    if good {
        return Ok(());
    }
    let message = format!("{id:?} cannot be a task's id on Kubernetes");
    Err(Failure::new(FailureKind::InvalidTask, message).hint(format!(
        "use lower-case letters, digits and `-`, beginning with a letter, {MAX_ID} characters at most"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_differ_and_are_names_that_kubernetes_takes() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| unique("task")).collect();
        assert_eq!(ids.len(), 1000);
        for id in &ids {
            check(id).unwrap();
            assert_eq!(id.len(), "task-".len() + 10);
        }
    }

    #[test]
    fn a_pod_is_known_by_its_job_for_every_attempt() {
        for attempt in Attempt::ALL {
            let job = attempt.job("task-abc");
            assert_eq!(job_of_pod(&format!("{job}-x7k2q")), Some(job.as_str()));
        }
    }

    #[test]
    fn ids_that_are_no_names_are_refused() {
        for id in ["", "A", "1a", "a_b", "a-", "../x", &"a".repeat(51)] {
            assert!(check(id).is_err(), "{id:?}");
        }
        check(&"a".repeat(50)).unwrap();
    }
}
