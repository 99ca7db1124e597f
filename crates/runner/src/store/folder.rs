//! Listing folders, and naming what is in them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hybrid_cache_model::Failure;

use super::failure::IoContext;

/// The paths of a folder's entries, sorted; an absent folder has none.
///
/// # Errors
/// The folder cannot be read.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listed = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.io_context("read the folder", folder)?,
    };
    let mut paths = Vec::new();
    for entry in listed {
        paths.push(entry.io_context("read the folder", folder)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// `path` relative to `root`, as text; a path outside `root` stays as it is.
pub fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}
