//! Finds the runs below a folder: bounded in depth, number and size, and without following links.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::folder::{FolderError, REPORT_FILE};

/// Runs of a history at most.
pub const MOST_RUNS: usize = 1_000;
/// Folders that are looked into at most.
const MOST_FOLDERS: usize = 20_000;
/// Folders within each other at most.
const MOST_DEPTH: usize = 6;
/// Largest report that is read, in bytes.
const MOST_BYTES: u64 = 256 << 20;

/// Folders that hold a report, by name.
pub(super) struct Found {
    pub folders: Vec<PathBuf>,
    pub left_out: usize,
}

/// Finds every folder with a report. Hidden folders, links, and folders within a run are left alone.
///
/// # Errors
/// The folder itself cannot be read.
pub(super) fn runs_below(dir: &Path) -> Result<Found, FolderError> {
    let io = |source| FolderError::Io {
        path: dir.to_owned(),
        source,
    };
    let mut open = vec![(dir.to_owned(), 0)];
    let (mut folders, mut looked) = (Vec::new(), 0);
    while let Some((folder, depth)) = open.pop() {
        looked += 1;
        if looked > MOST_FOLDERS {
            return Err(io(io::Error::other(format!(
                "more than {MOST_FOLDERS} folders; name one that holds reports only"
            ))));
        }
        if fs::symlink_metadata(folder.join(REPORT_FILE)).is_ok() {
            folders.push(folder);
            continue;
        }
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(source) if depth == 0 => return Err(io(source)),
            // Another user's folder, or one that has just gone, holds no run for us.
            Err(_) => continue,
        };
        if depth == MOST_DEPTH {
            continue;
        }
        let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_hidden = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
        let below = entries.flatten().filter(|entry| is_folder(entry) && !is_hidden(entry));
        open.extend(below.map(|entry| (entry.path(), depth + 1)));
    }
    folders.sort();
    let left_out = folders.len().saturating_sub(MOST_RUNS);
    folders.drain(..left_out);
    Ok(Found { folders, left_out })
}

/// Refuses a report that is no plain file or too large to be read.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(folder: &Path) -> Result<(), FolderError> {
    let path = folder.join(REPORT_FILE);
    let at = |source| FolderError::Io {
        path: path.clone(),
        source,
    };
    let about = fs::symlink_metadata(&path).map_err(at)?;
    if !about.is_file() {
        return Err(at(io::Error::other("this is no plain file")));
    }
    if about.len() > MOST_BYTES {
        return Err(at(io::Error::other(format!("larger than {MOST_BYTES} bytes"))));
    }
    Ok(())
}
