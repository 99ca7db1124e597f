//! Files and folders that are for their owner alone: what users submit and what their tasks print.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use hybrid_cache_model::Protection;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Makes a folder, with those above it, and tightens one that is there.
///
/// # Errors
/// It cannot be made or tightened.
pub fn folder(path: &Path) -> io::Result<()> {
    if !Protection::PrivateFiles.is_on() {
        return fs::create_dir_all(path);
    }
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
    tighten(path, FOLDER_MODE)
}

/// Opens a file with these options, making it for its owner alone.
///
/// # Errors
/// It cannot be opened or tightened.
pub fn file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    if Protection::PrivateFiles.is_on() {
        options.mode(FILE_MODE);
    }
    let opened = options.open(path)?;
    tighten(path, FILE_MODE)?;
    Ok(opened)
}

/// Takes from all but the owner what an earlier version or somebody's umask gave them. A file that is not there is fine.
///
/// # Errors
/// It cannot be changed.
pub fn tighten_file(path: &Path) -> io::Result<()> {
    match tighten(path, FILE_MODE) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Tightens every file of a folder, where others may enter that; it is to be tightened behind this.
///
/// # Errors
/// The folder cannot be read, or a file cannot be changed.
pub fn tighten_files_of(folder: &Path) -> io::Result<()> {
    if fs::metadata(folder)?.mode() & 0o077 == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        tighten_file(&entry?.path())?;
    }
    Ok(())
}

/// What belongs to another user stays as it is: the root of a claim is root's, and its group ours alone.
fn tighten(path: &Path, mode: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    let is_open = found.mode() & 0o077 != 0 && !found.file_type().is_symlink();
    if is_ours && is_open && Protection::PrivateFiles.is_on() {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}
