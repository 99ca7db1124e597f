//! The variants of a task's pod.

use crate::kube::names;
use crate::kube::workload::object::Workload;

/// How a task's pod gets its environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodVariant {
    /// One container, which finds everything in the caches.
    Warm,
    /// Two containers, of which one prepares what is missing.
    Prepared,
    /// Three containers: the third runs code of packages that have no wheel, for the one that prepares.
    Building,
}

impl PodVariant {
    /// The value of the annotation [`names::POD_VARIANT`], which a later process reads.
    pub fn name(self) -> &'static str {
        match self {
            PodVariant::Warm => "warm",
            PodVariant::Prepared => "prepared",
            PodVariant::Building => "building",
        }
    }

    /// True if one of its containers prepares.
    pub fn prepares(self) -> bool {
        self != PodVariant::Warm
    }
}

impl From<&Workload> for PodVariant {
    fn from(workload: &Workload) -> PodVariant {
        match workload.annotation(names::POD_VARIANT) {
            Some(name) if name == PodVariant::Prepared.name() => PodVariant::Prepared,
            Some(name) if name == PodVariant::Building.name() => PodVariant::Building,
            _ => PodVariant::Warm,
        }
    }
}
