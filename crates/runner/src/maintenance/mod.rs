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
pub mod system;

pub use command::{Question, answer};

use std::path::Path;

use hybrid_cache_model::Failure;

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
