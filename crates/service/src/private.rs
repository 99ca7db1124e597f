//! Creates files and folders that only their owner can read: what users submit and what their tasks print.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use hybrid_cache_model::Protection;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Creates a folder and its parents, and removes others' access to one that exists.
///
/// # Errors
/// The folder cannot be created, or its mode cannot be changed.
pub fn folder(path: &Path) -> io::Result<()> {
    if !Protection::PrivateFiles.is_on() {
        return fs::create_dir_all(path);
    }
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
    tighten(path, FOLDER_MODE)
}

/// Opens a file with these options. A new file is readable by its owner only.
///
/// # Errors
/// The file cannot be opened, or its mode cannot be changed.
pub fn file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    if Protection::PrivateFiles.is_on() {
        options.mode(FILE_MODE);
    }
    let opened = options.open(path)?;
    tighten(path, FILE_MODE)?;
    Ok(opened)
}

/// Removes others' access to a file, which an earlier version or a umask may have given. A missing file is not an
/// error.
///
/// # Errors
/// The mode cannot be changed.
pub fn tighten_file(path: &Path) -> io::Result<()> {
    match tighten(path, FILE_MODE) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Does the same for every file of a folder that others can enter. Change the folder's own mode after this.
///
/// # Errors
/// The folder cannot be read, or a mode cannot be changed.
pub fn tighten_files_of(folder: &Path) -> io::Result<()> {
    if fs::metadata(folder)?.mode() & 0o077 == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        tighten_file(&entry?.path())?;
    }
    Ok(())
}

/// Leaves files of other users alone: the root of a claim belongs to root, and its group is this process's.
fn tighten(path: &Path, mode: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    let is_open = found.mode() & 0o077 != 0 && !found.file_type().is_symlink();
    if is_ours && is_open && Protection::PrivateFiles.is_on() {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}
