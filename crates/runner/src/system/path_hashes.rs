//! Hashes of ours for every store path that an index entry needs, recorded once, after the path was registered.
//!
//! Nix has hashes of its own, in its database; these need no Nix to be checked and name the file that changed. The first
//! hash of a store path counts for as long as the path lives: whoever registers it later takes that one over, so damage in
//! between is not taken for content.

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

/// The listing of a store path, as it was registered; `None` where there is none.
pub fn listing(volume: &SystemVolume, path: &str) -> Option<Listing> {
    let name = Path::new(path).file_name()?;
    Listing::parse(&std::fs::read_to_string(folder(volume).join(name)).ok()?)
}

/// Adds to the entry of `key` the hash of every store path that it lacks. Nothing is done where the entry is gone.
///
/// # Errors
/// A store path cannot be read, or the volume cannot be written.
pub fn record(volume: &SystemVolume, key: &SystemKey) -> Result<(), Failure> {
    let index = volume.index_path(key);
    // Held, so that nobody removes the entry between reading and writing it.
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
    // That took seconds: a verification may have marked it meanwhile.
    let Some(mut entry) = IndexEntry::read(&index, key)? else {
        return Ok(());
    };
    entry.content.extend(hashes);
    files::write_atomic(&index, &entry.to_json()?)
}
