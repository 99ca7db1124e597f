//! Why a workload was not created, and whether it may be tried again.

use hybrid_cache_model::{Failure, FailureKind};

/// Why a workload was not created, or may not have been. The same workload may be tried again, except after a refusal.
#[derive(Clone, Debug)]
pub enum CreateError {
    /// It was not created: the cluster has no room now, or did not answer before it was asked for the workload.
    NotCreated(Failure),
    /// The cluster was asked for the workload and did not answer.
    MaybeCreated(Failure),
    /// The cluster refuses the workload for good.
    Refused(Failure),
}

impl CreateError {
    /// The failure to report.
    pub fn failure(&self) -> &Failure {
        match self {
            CreateError::NotCreated(failure) | CreateError::MaybeCreated(failure) | CreateError::Refused(failure) => {
                failure
            }
        }
    }

    /// A failure before the cluster was asked for the workload, for a reason that the task has no part in, such as rights
    /// that are missing for a moment. The task may be tried again.
    pub fn not_yet(failure: Failure) -> CreateError {
        CreateError::NotCreated(Failure {
            kind: FailureKind::Cluster,
            ..failure
        })
    }
}

/// A failure before the cluster was asked for the workload.
impl From<Failure> for CreateError {
    fn from(failure: Failure) -> CreateError {
        match failure.kind {
            FailureKind::Cluster | FailureKind::Unschedulable => CreateError::NotCreated(failure),
            _ => CreateError::Refused(failure),
        }
    }
}
