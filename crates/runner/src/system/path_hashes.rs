//! Content hashes for every store path that an index entry needs, recorded once, after the path is registered.
//!
//! Nix has its own hashes in its database. These can be checked without Nix, and they name the file that changed. The
//! first hash of a store path is kept as long as the path exists, so that later damage is not recorded as content.

use std::path::{Path, PathBuf};

use hybrid_cache_model::{Failure, SystemKey};

use super::SystemVolume;
use super::index::IndexEntry;
use crate::store::digest::Pace;
use crate::store::files;
use crate::store::lock::{self, Missing, Mode};
use crate::store::tree::{self, Listing};

/// Folder of the listings, one for each store path.
pub fn folder(volume: &SystemVolume) -> PathBuf {
    volume.state().join("content")
}

/// The recorded listing of a store path; `None` if there is none.
pub fn listing(volume: &SystemVolume, path: &str) -> Option<Listing> {
    let name = Path::new(path).file_name()?;
    Listing::parse(&std::fs::read_to_string(folder(volume).join(name)).ok()?)
}

/// Adds the missing hashes of store paths to the entry of `key`. Does nothing if the entry is gone.
///
/// # Errors
/// A store path cannot be read, or the volume cannot be written.
pub fn record(volume: &SystemVolume, key: &SystemKey) -> Result<(), Failure> {
    let index = volume.index_path(key);
    // The lease prevents the entry's removal between reading and writing it.
    let Some(_lease) = lock::attempt(&volume.lease_path(key), Mode::Shared, Missing::Absent)? else {
        return Ok(());
    };
    let Some(entry) = IndexEntry::read(&index, key)? else {
        return Ok(());
    };
    let lacking = |path: &&String| !entry.content.contains_key(*path);
    let lacking: Vec<String> = entry.closure.iter().filter(lacking).cloned().collect();
    if lacking.is_empty() {
        return Ok(());
    }
    files::ensure_folder(&folder(volume))?;
    let mut hashes = Vec::new();
    for path in lacking {
        let listing = match listing(volume, &path) {
            Some(known) => known,
            None => {
                let listing = tree::read(Path::new(&path), Pace::Background)?;
                let name = Path::new(&path).file_name().unwrap_or_default();
                files::write_atomic(&folder(volume).join(name), listing.to_text().as_bytes())?;
                listing
            }
        };
        hashes.push((path, listing.hash()));
    }
    // Read it again: hashing took seconds, and a verification may have marked it meanwhile.
    let Some(mut entry) = IndexEntry::read(&index, key)? else {
        return Ok(());
    };
    entry.content.extend(hashes);
    files::write_atomic(&index, &entry.to_json()?)
}
