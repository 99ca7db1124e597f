//! Judges whether a run under load kept the service's promises.

use hybrid_cache_model::load::LoadRecord;

/// What to tell a person of a run that could not send all of its arrivals.
pub const BEHIND: &str = "warning: the service answered too slowly for this rate; the last arrivals were never sent\n\
                          hint: offer fewer tasks a second";

/// The verdict on a complete run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadVerdict {
    /// Every task succeeded or was refused temporarily.
    Kept,
    /// A task was lost, was made twice or did not end.
    Broken,
    /// Tasks failed, or their requests failed.
    Failed {
        /// Number of failures.
        failed: u64,
        /// Number of arrivals.
        due: u64,
    },
}

impl LoadVerdict {
    /// What to tell a person; `None` if all is well.
    pub fn message(self) -> Option<String> {
        match self {
            LoadVerdict::Kept => None,
            LoadVerdict::Broken => {
                Some("tasks were lost, made twice or did not end; the report says how many".to_owned())
            }
            LoadVerdict::Failed { failed, due } => Some(format!("{failed} of {due} tasks failed; the report says why")),
        }
    }
}

/// Judges a run. Tasks that this run did not submit count only for its own service: other services have other clients.
pub fn judge(load: &LoadRecord) -> LoadVerdict {
    let counts = &load.counts;
    let twice = load.service.own && load.service.made.is_some_and(|made| made != counts.submitted);
    let broken = counts.lost + counts.unfinished + u64::from(twice);
    if broken > 0 {
        return LoadVerdict::Broken;
    }
    match counts.failed + counts.rejected + counts.unanswered {
        0 => LoadVerdict::Kept,
        failed => LoadVerdict::Failed {
            failed,
            due: counts.due,
        },
    }
}
