//! The trace of a cache: each request, its result, and its cost.
//!
//! A trace is a text of JSON objects, one per line. The first line is a [`Header`], every other line a [`RequestLine`]. The first
//! line that names an environment defines it, and the first line that names a part has its size, so a line is short once its
//! environment is known. Each file is complete by itself: rotation begins a new one with a header that lists what is resident.
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
mod error;
mod events;
mod lines;
mod read;
mod write;

pub use anonymise::Anonymiser;
pub use catalog::{Catalog, Environment, VolumeCatalog};
pub use error::TraceError;
pub use events::{Event, Recorded, Request, Source, Use};
pub use lines::{
    Definition, Header, Met, PartLine, RequestLine, ResidentEnvironment, ResidentVolume, UseLine, VERSION, Volume,
};
pub use read::{Fault, FaultKind, Faults, Reader};
pub use write::Writer;
