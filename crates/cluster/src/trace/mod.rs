//! Recorded requests of this machine's caches or of a cluster's: finds, reads and exports them, and computes how fast the volumes
//! fill.

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
