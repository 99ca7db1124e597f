//! What a workload holds beside its pod, whatever its kind.

use std::collections::BTreeMap;

/// Everything of a workload that is not its pod.
pub struct WorkloadFrame<'a> {
    /// The workload's name.
    pub name: &'a str,
    /// Labels of the workload and of its pod.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the workload, not of its pod.
    pub annotations: BTreeMap<String, String>,
    /// Seconds after which Kubernetes ends the workload in any case.
    pub deadline_s: u64,
    /// Seconds after its end at which Kubernetes deletes it.
    pub ttl_s: u32,
}
