//! Looking after the volumes between tasks: what they hold, making room, and whether all of it is whole.

mod answer;
mod budget;
pub mod contents;
pub mod evict;
mod largest;
pub mod leftovers;
pub(crate) mod orphans;
mod repair;
mod store;
pub mod system;
pub mod usage;
pub mod verify;

use std::path::Path;

use hybrid_cache_model::Failure;

pub use answer::{Question, answer};
pub use budget::Budget;
pub use evict::{gc, keep_within, make_room};
pub use repair::repair;
pub use usage::usage;
pub use verify::verify;

use crate::python::{PythonVolume, publish};

/// Notes that an environment (its folder below the volume, `tenants/<tenant>/envs/<key>`) is in use now.
///
/// Eviction takes the least recently used, and a task cannot say itself that it uses something: its mount is
/// read-only, and access times are kept by few file systems. So the time of use is the mtime of `.lease`, written by
/// whoever may write: a preparation that finds the environment made, and the driver's own sandbox for maintenance,
/// which calls this. A time of use within the last minute is left as it is.
///
/// # Errors
/// The environment is not there, or the volume cannot be written.
pub fn touch(volume: &PythonVolume, relative: &str) -> Result<(), Failure> {
    let leased = volume.lease(relative)?;
    publish::touch(leased.path())
}

/// `path` relative to the volume, for a report.
fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

/// The entries of a folder; none where it is not there.
pub(crate) fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>, Failure> {
    use crate::store::At;
    let listed = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("read the folder", folder)?,
    };
    let mut paths = Vec::new();
    for entry in listed {
        paths.push(entry.at("read the folder", folder)?.path());
    }
    paths.sort();
    Ok(paths)
}
