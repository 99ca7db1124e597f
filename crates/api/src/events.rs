//! What a task prints, as server-sent events.

use serde::{Deserialize, Serialize};

use crate::end::EndName;
use crate::state::StateName;

/// One of a task's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl StreamName {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            StreamName::Stdout => "stdout",
            StreamName::Stderr => "stderr",
        }
    }

    /// Reads [`StreamName::name`]; `None` for any other text.
    pub fn parse(text: &str) -> Option<StreamName> {
        [StreamName::Stdout, StreamName::Stderr]
            .into_iter()
            .find(|stream| stream.name() == text)
    }
}

/// The data of the last event of a task's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndEvent {
    /// How it ended; `None` if it never ran.
    pub end: Option<EndName>,
    /// The program's exit code, if it exited by itself.
    pub exit_code: Option<i32>,
    /// Its last state.
    pub state: StateName,
}

/// The schema of one event of a task's output.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "events are written as text; this describes them")]
pub struct LogEvent {
    /// `stdout`, `stderr`, or `end` as the last one.
    event: String,
    /// Bytes of both streams up to its end: where to continue after it.
    id: Option<String>,
    /// JSON: the text as a string, or how the task ended: `{"state", "end", "exitCode"}`.
    data: String,
}
