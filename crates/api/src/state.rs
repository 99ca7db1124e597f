//! A task's state as clients see it.

use serde::{Deserialize, Serialize};

/// A task's state as clients see it. A task that is about to start is still queued to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum StateName {
    /// Stored, but not run yet.
    Saved,
    /// Waiting in the queue, or for the driver.
    Queued,
    /// Running.
    Running,
    /// Ended, with an outcome.
    Ended,
    /// Cancelled before it ended.
    Cancelled,
    /// A state of a newer version of the service that this one does not know.
    #[serde(other)]
    Unknown,
}

impl StateName {
    /// All states that this version uses, in the order of a task's life.
    pub const ALL: [StateName; 5] = [
        StateName::Saved,
        StateName::Queued,
        StateName::Running,
        StateName::Ended,
        StateName::Cancelled,
    ];

    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            StateName::Saved => "saved",
            StateName::Queued => "queued",
            StateName::Running => "running",
            StateName::Ended => "ended",
            StateName::Cancelled => "cancelled",
            StateName::Unknown => "unknown",
        }
    }

    /// True if nothing more will happen to the task, as far as this version knows.
    pub fn is_final(self) -> bool {
        matches!(self, StateName::Ended | StateName::Cancelled | StateName::Unknown)
    }
}
