//! How a task comes to its first workload: the driver creates one, or adopts one of another process.

use crate::kube::names::Attempt;
use crate::kube::pod::variant::PodVariant;
use crate::kube::workload::object::Workload;

/// How a task comes to its first workload.
pub enum FirstWorkload {
    /// The driver creates it.
    Create,
    /// Another process has created it.
    Adopt(Box<Adopted>),
}

/// A workload that another process has created.
pub struct Adopted {
    /// The workload as the cluster has it.
    pub workload: Workload,
    /// Which of the task's workloads it is.
    pub attempt: Attempt,
    /// The variant of its pod.
    pub variant: PodVariant,
}
