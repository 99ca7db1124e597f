//! The index entries of all tenants, found by path, and the removal of one.

use std::path::{Path, PathBuf};

use hybrid_cache_model::Failure;

use super::SystemVolume;
use super::index::IndexEntry;
use crate::store::files;
use crate::store::folder::entries;
use crate::store::lock::{self, Missing, Mode};

/// The index entries of all tenants, each with its tenant's part of the volume.
pub fn all(volume: &SystemVolume) -> Result<Vec<(SystemVolume, PathBuf)>, Failure> {
    let mut all = Vec::new();
    for tenant in volume.all()? {
        let found = entries(&tenant.index())?;
        all.extend(found.into_iter().map(|entry| (tenant.clone(), entry)));
    }
    Ok(all)
}

/// Reads the entry at `path`, damaged or not; `None` if it is absent or not an entry.
pub fn read(path: &Path) -> Option<IndexEntry> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The key that the name of an entry's file says.
pub fn key_of(entry: &Path) -> String {
    entry.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The lease of an entry of the tenant whose part of the volume this is.
pub fn lease_of(volume: &SystemVolume, entry: &Path) -> PathBuf {
    volume.own().join("leases").join(key_of(entry))
}

/// Removes one entry of the tenant with its roots, unless a task uses it. False if one does.
///
/// The entry is deleted first and the lease's file last, so a process that still finds the entry finds the lock taken or gone.
///
/// # Errors
/// The volume cannot be written.
pub fn evict(volume: &SystemVolume, entry: &Path) -> Result<bool, Failure> {
    let lease = lease_of(volume, entry);
    let held = lock::attempt(&lease, Mode::Exclusive, Missing::Absent)?;
    // Without a lease file it is damaged, and no task can use it.
    if held.is_none() && lease.exists() {
        return Ok(false);
    }
    files::delete(entry)?;
    files::delete(&volume.roots().join(key_of(entry)))?;
    files::delete(&lease)?;
    Ok(true)
}
