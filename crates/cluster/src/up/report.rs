//! The report of `up`.

use std::path::PathBuf;

use hybrid_cache_driver::kube::StandbyRange;

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
    /// What came of the standby pods; `None` if there are none and none were asked for.
    pub standby: Option<StandbyEnd>,
    /// The kubeconfig of a kind cluster that is up.
    pub kubeconfig: Option<PathBuf>,
}

impl UpReport {
    /// True if something blocks a step and `up` does not remove it. Only a plan has such steps: carrying them out is an error.
    pub fn has_conflict(&self) -> bool {
        self.plan.iter().any(|planned| planned.decision == Decision::Conflict)
    }

    /// True if standby pods were asked for and are not ready.
    pub fn lacks_standby_pods(&self) -> bool {
        self.standby.as_ref().is_some_and(|end| !end.is_ready)
    }
}

/// What came of the standby pods that `up` was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyEnd {
    /// The last line of `up`, for a person.
    pub line: String,
    /// True if as many are ready as should be.
    pub is_ready: bool,
}

impl StandbyEnd {
    /// So many are ready.
    pub fn ready(ready: u32, range: StandbyRange) -> StandbyEnd {
        let follow = match range.max() > range.min() {
            true => format!(", up to {} follow arrivals", range.max()),
            false => String::new(),
        };
        StandbyEnd {
            line: format!(
                "standby pods: {ready} ready{follow}, for cached tasks of `run`, `serve` and `bench` with `--driver kube` and of \
                 the service of `up --with-service`"
            ),
            is_ready: true,
        }
    }

    /// Too few are ready.
    pub fn not_ready(why: &str) -> StandbyEnd {
        StandbyEnd {
            line: format!("warning: standby pods: {why}\nuntil they are ready, cached tasks run as Jobs"),
            is_ready: false,
        }
    }
}
