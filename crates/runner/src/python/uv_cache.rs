//! uv's caches on the volume, and the unpacked wheels in them that no environment shares any more.
//!
//! `uv cache prune` keeps every wheel that its own index mentions, used or not, so it alone frees nothing that counts.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;
use hybrid_cache_model::protocol::IndexScope;

use super::PythonVolume;
use crate::store::files;
use crate::store::folder::entries;
use crate::store::lock;

/// Every tenant that has a uv cache of its own, and the shared one with any of them.
///
/// # Errors
/// The volume cannot be read.
pub fn uv_caches(volume: &PythonVolume) -> Result<Vec<(PythonVolume, PathBuf)>, Failure> {
    let mut caches: Vec<(PythonVolume, PathBuf)> = Vec::new();
    for tenant in PythonVolume::all(volume.root())? {
        for scope in [IndexScope::Public, IndexScope::Private] {
            let tenant = tenant.clone().with_scope(scope);
            let cache = tenant.uv_cache();
            if caches.iter().all(|(_, known)| *known != cache) {
                caches.push((tenant, cache));
            }
        }
    }
    Ok(caches)
}

/// Takes uv's lock on its cache alone, waiting for uv until `deadline`; `None` where uv works on, or never worked there.
///
/// uv holds a shared lock on its cache while it works: with this one no wheel is on its way into an environment. uv takes
/// an unpacked wheel that is not there for one it never had.
///
/// # Errors
/// The lock cannot be opened.
pub fn lock_cache(cache: &Path, deadline: Instant, pause: Duration) -> Result<Option<File>, Failure> {
    let path = cache.join(".lock");
    loop {
        match lock::attempt_flock(&path)? {
            None if path.exists() && Instant::now() < deadline => std::thread::sleep(pause),
            other => return Ok(other),
        }
    }
}

/// The folders of a uv cache that hold unpacked wheels, each in a folder of its own.
///
/// # Errors
/// The cache cannot be read.
pub fn archives(cache: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut buckets = entries(cache)?;
    buckets.retain(|bucket| {
        let name = bucket.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("archive-")
    });
    Ok(buckets)
}

/// The folders of a uv cache that hold copies of indexes: they only grow, and uv asks the index again for what is gone.
///
/// # Errors
/// The cache cannot be read.
pub fn indexes(cache: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut buckets = entries(cache)?;
    buckets.retain(|bucket| {
        let name = bucket.file_name().unwrap_or_default().to_string_lossy();
        ["simple-", "flat-index-"].iter().any(|start| name.starts_with(start))
    });
    Ok(buckets)
}

/// Removes from a uv cache what leads to unpacked wheels that are gone: each is a link, with notes beside it. uv takes a
/// wheel from an index for one it never had then, but insists on one that came from a folder.
///
/// # Errors
/// The cache cannot be read or written. The caller holds uv's lock alone.
pub fn forget_gone(cache: &Path) -> Result<(), Failure> {
    let mut folders = entries(cache)?;
    folders.retain(|bucket| {
        let name = bucket.file_name().unwrap_or_default().to_string_lossy();
        ["wheels-", "sdists-"].iter().any(|start| name.starts_with(start))
    });
    while let Some(folder) = folders.pop() {
        let inside = entries(&folder)?;
        for path in &inside {
            let Ok(found) = path.symlink_metadata() else { continue };
            if found.is_dir() {
                folders.push(path.clone());
            } else if found.is_symlink() && !path.exists() {
                let start = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
                let is_note = |beside: &&PathBuf| {
                    let name = beside.file_name().unwrap_or_default().to_string_lossy();
                    name.starts_with(&start) && !name.ends_with(".lock")
                };
                inside.iter().filter(is_note).try_for_each(|note| files::delete(note))?;
                files::delete(path)?;
            }
        }
    }
    Ok(())
}

/// True where no file below `folder` has another name anywhere.
///
/// # Errors
/// It cannot be read.
pub fn is_unshared(folder: &Path) -> Result<bool, Failure> {
    for path in entries(folder)? {
        let Ok(found) = path.symlink_metadata() else { continue };
        let unshared = if found.is_dir() {
            is_unshared(&path)?
        } else {
            found.nlink() < 2
        };
        if !unshared {
            return Ok(false);
        }
    }
    Ok(true)
}
