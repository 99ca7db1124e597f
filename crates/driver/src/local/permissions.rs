//! Modes of the cache folder, and folders that are created with them.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use hybrid_cache_model::Protection;

/// Mode of folders that are mounted where user code runs, as another user if the driver is root.
pub const MOUNTED_MODE: u32 = 0o755;

/// Mode of the cache folder and of every folder in it that is not mounted where user code runs.
pub fn private_mode() -> u32 {
    if Protection::PrivateFiles.is_on() {
        0o700
    } else {
        MOUNTED_MODE
    }
}

/// Creates a folder and its parents for this user alone.
///
/// # Errors
/// The folder cannot be created.
pub fn create_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(private_mode()).create(folder)
}
