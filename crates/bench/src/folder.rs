//! Deletes folders that hold a Nix store.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hybrid_cache_tools::{ErrorContext, Result};

/// Deletes a folder. Those of a Nix store may not be written, which only matters to users other than root.
pub fn delete(folder: &Path) -> Result<()> {
    make_writable(folder);
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("deleting {}", folder.display())),
    }
}

/// Makes a folder and those below it writable for their owner.
pub fn make_writable(folder: &Path) {
    // What cannot be changed is reported by the deletion.
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}
