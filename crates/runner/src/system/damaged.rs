//! Records of store paths that a verification found damaged, kept until the paths are gone.
//!
//! Nix trusts paths that exist, and a path stays as long as an entry in use needs it. Without the record, the next
//! build of another set would register the damage as content.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hybrid_cache_model::{Failure, Protection};

use super::SystemVolume;
use crate::store::files;
use crate::store::folder::entries;

/// Folder of the notes, an empty file for each store path.
fn folder(volume: &SystemVolume) -> PathBuf {
    volume.state().join("damaged")
}

fn note_of(volume: &SystemVolume, path: &str) -> PathBuf {
    folder(volume).join(Path::new(path).file_name().unwrap_or_default())
}

/// Records the store paths.
///
/// # Errors
/// The volume cannot be written.
pub fn note(volume: &SystemVolume, paths: &BTreeSet<String>) -> Result<(), Failure> {
    if paths.is_empty() {
        return Ok(());
    }
    files::ensure_folder(&folder(volume))?;
    paths
        .iter()
        .try_for_each(|path| files::write_atomic(&note_of(volume, path), b""))
}

/// True if any store path is recorded.
///
/// # Errors
/// The folder cannot be read.
pub fn is_any(volume: &SystemVolume) -> Result<bool, Failure> {
    Ok(!entries(&folder(volume))?.is_empty())
}

/// The first of `paths` that is recorded as damaged.
pub fn first<'a>(volume: &SystemVolume, paths: &'a [String]) -> Option<&'a String> {
    if !Protection::DamageIsMiss.is_on() {
        return None;
    }
    paths.iter().find(|path| note_of(volume, path).exists())
}

/// Removes the records of paths that are gone. Only after a collection and under the store's lock, because Nix may
/// still list a path that was deleted otherwise.
///
/// # Errors
/// The volume cannot be read or written.
pub fn forget_gone(volume: &SystemVolume, needed: &BTreeSet<String>) -> Result<(), Failure> {
    let needed: BTreeSet<_> = needed.iter().filter_map(|path| Path::new(path).file_name()).collect();
    for note in entries(&folder(volume))? {
        let name = note.file_name().unwrap_or_default();
        let is_there = volume.root().join("store").join(name).symlink_metadata().is_ok();
        if !is_there && !needed.contains(name) {
            files::delete(&note)?;
        }
    }
    Ok(())
}
