//! What `up` found and did.

use std::path::PathBuf;

use crate::plan::{Decision, Planned};

/// What `up` found and did.
#[derive(Clone, Debug, Default)]
pub struct UpReport {
    /// What each step needed, in order, as it was before anything was changed.
    pub plan: Vec<Planned>,
    /// True if it was done; false with `plan_only`.
    pub is_done: bool,
    /// What each claim whose size was asked for is divided into, one line for each.
    pub division: Vec<String>,
    /// How to reach the task service, for a person; `None` if it was not asked for or not brought.
    pub service: Option<String>,
    /// How to reach a kind cluster that is up.
    pub kubeconfig: Option<PathBuf>,
}

impl UpReport {
    /// True if something stands in the way that `up` does not remove. Only a plan has such steps: doing them is an error.
    pub fn has_conflict(&self) -> bool {
        self.plan.iter().any(|planned| planned.decision == Decision::Conflict)
    }
}
