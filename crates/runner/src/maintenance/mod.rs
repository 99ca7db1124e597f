//! Maintenance of the cache volumes between tasks: disk usage, eviction, verification and repair.
//!
//! `python` and `system` do the work for one volume each; `command` runs one maintenance command on both.

mod budget;
mod command;
pub mod contents;
mod hashes;
mod largest;
pub mod leftovers;
pub mod python;
mod report;
pub mod system;

pub use command::{MaintenanceCommand, answer};
