//! What a trial sees of its own caches from outside: files by name and by content.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::TrialError;

/// No file of a trial is read beyond this, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// Everything below a folder that `wanted` takes, links unfollowed, sorted.
pub fn find(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(path.clone());
            }
            if wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Everything below a folder of this name.
pub fn named(folder: &Path, name: &str) -> Vec<PathBuf> {
    find(folder, |path| path.file_name().is_some_and(|found| found == name))
}

/// True for a regular file that holds these bytes.
pub fn holds(path: &Path, needle: &str) -> bool {
    let is_file = path
        .symlink_metadata()
        .is_ok_and(|found| found.is_file() && found.len() <= MOST_BYTES);
    let text = if is_file {
        fs::read(path).unwrap_or_default()
    } else {
        Vec::new()
    };
    text.windows(needle.len().max(1))
        .any(|window| window == needle.as_bytes())
}

/// The folders of published environments on a Python volume, of every tenant.
pub fn environments(python: &Path) -> Vec<PathBuf> {
    let in_place = |path: &Path| {
        let parent = path.parent().and_then(Path::file_name);
        parent.is_some_and(|parent| parent == "envs") && path.symlink_metadata().is_ok_and(|found| found.is_dir())
    };
    find(python, in_place)
}

/// The one environment on a Python volume.
///
/// # Errors
/// There is another number of them.
pub fn only_environment(python: &Path) -> Result<PathBuf, TrialError> {
    match &environments(python)[..] {
        [one] => Ok(one.clone()),
        others => Err(TrialError::Other(format!(
            "there are {} environments instead of one",
            others.len()
        ))),
    }
}

/// Changes one byte of a file in place; its size and the time of its last change stay.
///
/// # Errors
/// It cannot be written, or is empty.
pub fn flip(path: &Path) -> Result<(), TrialError> {
    let failed = || TrialError::io(format!("changing {}", path.display()));
    let changed_at = fs::metadata(path)
        .and_then(|found| found.modified())
        .map_err(failed())?;
    let mut content = fs::read(path).map_err(failed())?;
    let Some(last) = content.last_mut() else {
        return Err(TrialError::Other(format!("{} is empty", path.display())));
    };
    *last ^= 1;
    write_in_place(path, &content)?;
    // The file may be read-only, and its owner needs no more than that to set its times.
    let file = fs::File::open(path).map_err(failed())?;
    file.set_modified(changed_at).map_err(failed())
}

/// Writes a file that may be read-only for its owner.
fn write_in_place(path: &Path, content: &[u8]) -> Result<(), TrialError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = || TrialError::io(format!("writing {}", path.display()));
    let mode = fs::metadata(path).map_err(failed())?.mode();
    fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o200)).map_err(failed())?;
    let written = fs::write(path, content).map_err(failed());
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed())?;
    written
}

/// Files and folders below `folder` that users other than the owner can reach and read, by their modes alone.
pub fn open_to_others(folder: &Path) -> Vec<PathBuf> {
    let mode = |path: &Path| path.symlink_metadata().map_or(0, |found| found.mode());
    let mut open = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
        let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
        if !is_link && mode(&path) & 0o044 != 0 {
            open.push(path.clone());
        }
        if is_folder && mode(&path) & 0o011 != 0 {
            left.extend(
                fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        }
    }
    open.sort();
    open
}
