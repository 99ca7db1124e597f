//! The lines of a trace: the header, and one line for each request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Weight;

/// The version of the format that this crate writes and reads.
pub const VERSION: u32 = 1;

/// One of the two volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Volume {
    /// Python environments and uv's cache.
    Python,
    /// The Nix store.
    System,
}

impl Volume {
    /// Both volumes.
    pub const ALL: [Volume; 2] = [Volume::Python, Volume::System];

    /// The name used in traces and reports.
    pub fn name(self) -> &'static str {
        match self {
            Volume::Python => "python",
            Volume::System => "system",
        }
    }

    /// Index in arrays of two.
    pub fn index(self) -> usize {
        match self {
            Volume::Python => 0,
            Volume::System => 1,
        }
    }
}

/// The first line of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format; [`VERSION`].
    pub hybrid_cache_trace: u32,
    /// When recording began, in microseconds since 1970.
    pub begun_us: u64,
    /// Age in seconds from which a request is resolved again; absent if requests do not age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u64>,
    /// Contents of the Python volume; absent if it was empty or is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<ResidentVolume>,
    /// Contents of the system volume; absent if it was empty or is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<ResidentVolume>,
}

/// Contents of a volume when recording began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidentVolume {
    /// Usage that counts against the budget and belongs to no environment, such as uv's index cache.
    #[serde(default)]
    pub rest: Weight,
    /// The environments.
    #[serde(default)]
    pub environments: Vec<ResidentEnvironment>,
}

/// An environment that was there when recording began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidentEnvironment {
    /// Key of the environment.
    pub environment: String,
    /// Time of the last use, in microseconds since 1970.
    pub used_us: u64,
    /// Parts of the environment.
    pub made_of: Definition,
}

/// The definition of an environment by its parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// A name that people recognise, such as the packages; empty if it was removed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Usage outside the parts.
    #[serde(default)]
    pub own: Weight,
    /// The parts.
    #[serde(default)]
    pub parts: Vec<PartLine>,
}

/// A part as a line names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PartLine {
    /// Id, allocated bytes and inodes: in the first line that names the part.
    New(String, u64, u64),
    /// The id alone: in every later line.
    Known(String),
}

impl PartLine {
    /// The part's id.
    pub fn id(&self) -> &str {
        match self {
            PartLine::New(id, ..) | PartLine::Known(id) => id,
        }
    }
}

/// Every line but the first: one request of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLine {
    /// Time of the task's end, in microseconds since 1970: until then it used its environment.
    pub at_us: u64,
    /// Tenant of the task.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// Use of the Python volume; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<UseLine>,
    /// Use of the system volume; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<UseLine>,
    /// Microseconds that the client waited, without the time of the user's program; absent if they were not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_us: Option<u64>,
    /// Microseconds of each phase, by the names of a run's report.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases_us: BTreeMap<String, u64>,
}

/// A request's use of one volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseLine {
    /// Key of the request: the same requirements text has the same key.
    pub request: String,
    /// Key of the environment that the task ran in.
    pub environment: String,
    /// Result of the cache.
    pub result: Met,
    /// Bytes that were fetched and unpacked for the request.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub downloaded_bytes: u64,
    /// Definition of the environment, in the first line that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<Definition>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// The result of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Met {
    /// The environment was there.
    #[default]
    Hit,
    /// The environment was not there.
    Miss,
    /// The request was known, but older than its maximum age, and was resolved again.
    Expired,
}
