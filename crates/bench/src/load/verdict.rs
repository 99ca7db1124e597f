//! Whether a run under load kept the service's promises.

use hybrid_cache_model::load::LoadRecord;

/// What a run that came to its end shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadVerdict {
    /// Every task succeeded, or was refused for the time being.
    Kept,
    /// A task was lost, made twice or did not end.
    Broken,
    /// Tasks failed, or their requests came to nothing.
    Failed {
        /// How many.
        failed: u64,
        /// Of how many arrivals.
        due: u64,
    },
}

/// Judges a run. Only its own service is judged for tasks that nobody submitted: another one has other clients.
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
