//! Requests that were recorded of this machine's caches or of a cluster's: where they are, reading and exporting them, and how fast
//! the volumes fill by them.

mod export;
mod file;
mod find;
mod growth;
mod recorded;

pub use export::{ExportCount, export, export_to_file};
pub use file::{TraceFile, describe_faults};
pub use find::{Found, find, folder, is_empty};
pub use growth::{VolumeGrowth, growth, nothing_recorded};
pub use recorded::Recorded;
