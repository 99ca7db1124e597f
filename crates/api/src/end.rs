//! How a run ended, as one word.

use hybrid_cache_model::End;
use serde::{Deserialize, Serialize};

/// How a run ended, without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum EndName {
    /// The program exited by itself.
    Exited,
    /// A signal killed it.
    Signaled,
    /// It reached its time limit.
    TimedOut,
    /// A client cancelled it.
    Cancelled,
    /// It could not run to its end because of the service, the task's text or the machine.
    Failed,
    /// A word of a newer version of the service that this one does not know.
    #[serde(other)]
    Unknown,
}

impl EndName {
    /// All ends that this version knows.
    pub const ALL: [EndName; 5] = [
        EndName::Exited,
        EndName::Signaled,
        EndName::TimedOut,
        EndName::Cancelled,
        EndName::Failed,
    ];

    /// The name of an outcome's end.
    pub fn from_end(end: &End) -> EndName {
        match end {
            End::Exited { .. } => EndName::Exited,
            End::Signaled { .. } => EndName::Signaled,
            End::TimedOut { .. } => EndName::TimedOut,
            End::Cancelled => EndName::Cancelled,
            End::Failed { .. } => EndName::Failed,
        }
    }

    /// The word on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            EndName::Exited => "exited",
            EndName::Signaled => "signaled",
            EndName::TimedOut => "timedOut",
            EndName::Cancelled => "cancelled",
            EndName::Failed => "failed",
            EndName::Unknown => "unknown",
        }
    }

    /// Reads [`EndName::name`] of a stored row; any other text is `Unknown`.
    pub fn kept(text: &str) -> EndName {
        EndName::parse(text).unwrap_or(EndName::Unknown)
    }

    /// Reads [`EndName::name`]; `None` for any other text.
    pub fn parse(text: &str) -> Option<EndName> {
        EndName::ALL.into_iter().find(|end| end.name() == text)
    }
}
