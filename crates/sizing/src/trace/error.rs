//! Errors that make a whole trace unusable.

use super::lines::VERSION;

/// Why a whole trace is unusable. A smaller problem is a [`super::Fault`] of one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The trace has no line.
    #[error("the trace is empty\nhint: record one, or use `--synthetic NAME`")]
    Empty,
    /// The first line is not a header.
    #[error("line 1 is not the header of a trace\nhint: the first line begins with {{\"hybrid_cache_trace\":{VERSION}")]
    NoHeader,
    /// The trace has another version of the format.
    #[error(
        "the trace has version {found}, this program reads version {VERSION}\nhint: use the program that recorded it"
    )]
    Version {
        /// The version found.
        found: u32,
    },
    /// There are headers, but no requests.
    #[error("the trace has no requests\nhint: run tasks while recording is on")]
    NoRequests,
    /// The trace could not be read.
    #[error("{0}")]
    Unreadable(String),
}
