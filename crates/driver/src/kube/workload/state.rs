//! The state of a workload, as its controller reports it.

/// The state of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WorkloadState {
    /// No watch has shown it yet.
    #[default]
    Unseen,
    /// It exists and has not ended.
    Active,
    /// It has succeeded.
    Complete,
    /// It has failed.
    Failed {
        /// The controller's reason, such as `DeadlineExceeded` or `BackoffLimitExceeded`.
        reason: String,
        /// The controller's message.
        message: String,
    },
    /// It is being deleted, or has been.
    Gone,
}

impl WorkloadState {
    /// True if a watch has shown it and has not shown its deletion.
    pub fn was_there(&self) -> bool {
        !matches!(self, WorkloadState::Unseen | WorkloadState::Gone)
    }

    /// True if its controller reports its end.
    pub fn has_ended(&self) -> bool {
        matches!(self, WorkloadState::Complete | WorkloadState::Failed { .. })
    }
}

/// An object of the API that is a workload.
pub trait WorkloadObject {
    /// The workload's state.
    fn state(&self) -> WorkloadState;

    /// Why its controller cannot create a pod, in the controller's words; `None` if the object does not say.
    fn pod_refusal(&self) -> Option<String> {
        None
    }
}
