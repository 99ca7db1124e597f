//! The trace of a cache: what each request asked for, what it met, and what that cost.
//!
//! A trace is a text of JSON objects, one a line. The first line is a [`Header`], every other one a [`RequestLine`]. What
//! an environment is made of stands in the first line that names the environment, and the size of a part in the first
//! line that names the part, so that a line is short once its environment is known. Each file stands alone: rotation
//! begins a new one with a header that lists what is resident.
//!
//! ```text
//! {"hybrid_cache_trace":1,"begun_us":…,"max_age_s":604800,"python":{"rest":[4096,1],"environments":[…]}}
//! {"at_us":…,"tenant":"default","python":{"request":"9f…","environment":"31…","result":"miss","downloaded_bytes":61865984,
//!   "made_of":{"label":"numpy","own":[409600,80],"parts":[["00c5…",61865984,900],"11aa…"]}},"wait_us":1590000,
//!   "phases_us":{"python_install":900000}}
//! {"at_us":…,"tenant":"default","python":{"request":"9f…","environment":"31…","result":"hit"},"wait_us":104000}
//! ```
//!
//! A trace never holds user code or output. `label` holds names of packages and may be left out.

mod anonymise;
mod catalog;
mod read;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use anonymise::Anonymiser;
pub use catalog::{Catalog, Environment, VolumeCatalog};
pub use read::{Fault, FaultKind, Faults, Reader};
pub use write::Writer;

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

    /// Its place in arrays of two.
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
    /// What the Python volume held; absent if it was empty or is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<ResidentVolume>,
    /// What the system volume held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<ResidentVolume>,
}

/// What a volume held when recording began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidentVolume {
    /// What counts against the budget and belongs to no environment, such as uv's index cache.
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
    /// Its key.
    pub environment: String,
    /// Its last use, in microseconds since 1970.
    pub used_us: u64,
    /// What it is made of.
    pub made_of: Definition,
}

/// What an environment is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// A name that people recognise, such as its packages; empty if it was taken out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Usage outside of its parts.
    #[serde(default)]
    pub own: Weight,
    /// Its parts.
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
    /// When the task had ended, in microseconds since 1970: until then it used its environment.
    pub at_us: u64,
    /// Whose task it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// What it asked of the Python volume; absent if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<UseLine>,
    /// What it asked of the system volume; absent if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<UseLine>,
    /// Microseconds that the client waited, without the time of the user's program; absent if they were not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_us: Option<u64>,
    /// Microseconds of each phase, by the names of a run's report.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases_us: BTreeMap<String, u64>,
}

/// What a request asked of one volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseLine {
    /// Key of the request: the same text of requirements has the same one.
    pub request: String,
    /// Key of the environment that the task ran in.
    pub environment: String,
    /// What the cache answered.
    pub result: Met,
    /// Bytes that were fetched and unpacked for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub downloaded_bytes: u64,
    /// What the environment is made of, in the first line that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<Definition>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What a cache answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Met {
    /// The environment was there.
    #[default]
    Hit,
    /// It was not.
    Miss,
    /// The request was known, but older than its maximum age, and was resolved again.
    Expired,
}

/// What happens in a trace, in its order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An environment was there before the first request; least recently used first.
    Resident(Volume, u32),
    /// A request.
    Request(Request),
}

/// One request, with environments as indices into the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Request {
    /// Microseconds since 1970; never less than that of the request before.
    pub at_us: u64,
    /// What it asked of each volume.
    pub uses: [Option<Use>; 2],
    /// Microseconds that the client waited, without the user's program; `None` if they were not measured.
    pub wait_us: Option<u64>,
    /// Microseconds that the user's program took, until `at_us`; 0 if that is not known.
    pub held_us: u64,
}

impl Request {
    /// What it asked of one volume.
    pub fn on(&self, volume: Volume) -> Option<&Use> {
        self.uses[volume.index()].as_ref()
    }
}

/// What a request asked of one volume.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Use {
    /// The environment, as an index into the volume's catalog.
    pub environment: u32,
    /// A hash of the request's key.
    pub request: u64,
    /// What the cache answered.
    pub met: Met,
    /// True if the request is resolved again at any size of the volume, because it is older than its maximum age.
    pub is_due: bool,
    /// Bytes that were fetched and unpacked.
    pub downloaded_bytes: u64,
    /// Microseconds that preparing took before the program could start; `None` if they were not measured.
    pub prepare_us: Option<u64>,
}

/// A trace that can be gone through as often as needed.
pub trait Source {
    /// All environments and parts of the whole trace.
    fn catalog(&self) -> &Catalog;

    /// Calls `each` with every event, in order.
    ///
    /// # Errors
    /// The trace cannot be read again.
    fn replay(&self, each: &mut dyn FnMut(&Event)) -> Result<(), TraceError>;
}

/// A trace in memory.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// All environments and parts.
    pub catalog: Catalog,
    /// What happened.
    pub events: Vec<Event>,
}

impl Source for Recorded {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn replay(&self, each: &mut dyn FnMut(&Event)) -> Result<(), TraceError> {
        self.events.iter().for_each(each);
        Ok(())
    }
}

/// Why a trace cannot be used at all. Everything less is a [`Fault`] of one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// There is no line in it.
    #[error("the trace is empty\nhint: record one, or use `--synthetic NAME`")]
    Empty,
    /// The first line is no header.
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
