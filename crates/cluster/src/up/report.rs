//! The report of `up`.

use std::path::PathBuf;

use crate::plan::{Decision, Planned};

/// What `up` found and did.
#[derive(Clone, Debug, Default)]
pub struct UpReport {
    /// What each step needed, in order, before anything was changed.
    pub plan: Vec<Planned>,
    /// True if the plan was carried out; false with `plan_only`.
    pub is_done: bool,
    /// How each claim whose size was requested is divided, one line for each.
    pub division: Vec<String>,
    /// How to reach the task service, as text for a person; `None` if it was not requested or not installed.
    pub service: Option<String>,
    /// The kubeconfig of a kind cluster that is up.
    pub kubeconfig: Option<PathBuf>,
}

impl UpReport {
    /// True if something blocks a step and `up` does not remove it. Only a plan has such steps: carrying them out is an error.
    pub fn has_conflict(&self) -> bool {
        self.plan.iter().any(|planned| planned.decision == Decision::Conflict)
    }
}
