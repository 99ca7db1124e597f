//! uv's caches on the volume: their folders, uv's lock, and the removal of unused wheels.
//!
//! `uv cache prune` keeps every wheel in uv's own index, used or not, so it frees little.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;
use hybrid_cache_model::protocol::IndexScope;

use super::PythonVolume;
use crate::store::files;
use crate::store::folder::entries;
use crate::store::{lock, stage};

/// Every uv cache with a tenant's volume: the tenants' own caches, and the shared one with any tenant.
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

/// Takes uv's cache lock exclusively. Waits for uv until `deadline`; `None` if uv still runs, or never used this cache.
///
/// uv holds a shared lock on its cache while it runs, so no wheel is being installed while this one is held. uv treats
/// a removed wheel as one it never had.
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
    buckets(cache, &["archive-"])
}

/// Name of the folder with wheels that were built, in a uv cache.
pub const BUILT_WHEELS: &str = "built-wheels";
/// A preparation that found a built wheel has installed it after this time.
const BUILT_WHEEL_GRACE: Duration = Duration::from_secs(15 * 60);

/// The folders of a uv cache that hold copies of indexes, and wheels that were built and that no preparation takes now. They
/// only grow, and what is removed is downloaded or built again.
///
/// # Errors
/// The cache cannot be read.
pub fn copies(cache: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut copies = buckets(cache, &["simple-", "flat-index-"])?;
    let built = entries(&cache.join(BUILT_WHEELS))?;
    copies.extend(built.into_iter().filter(|wheel| stage::age(wheel) > BUILT_WHEEL_GRACE));
    Ok(copies)
}

/// The folders of a uv cache that hold links to unpacked packages, with uv's notes beside them.
fn notes(cache: &Path) -> Result<Vec<PathBuf>, Failure> {
    buckets(cache, &["wheels-", "sdists-"])
}

/// The folders of a uv cache whose names begin so; a version follows.
fn buckets(cache: &Path, beginnings: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    let mut buckets = entries(cache)?;
    buckets.retain(|bucket| {
        let name = bucket.file_name().unwrap_or_default().to_string_lossy();
        beginnings.iter().any(|beginning| name.starts_with(beginning))
    });
    Ok(buckets)
}

/// Removes uv's notes about packages that came from a folder. uv fails for a note that a power cut left unfinished, and
/// unpacks the package again if there is none; it writes other notes again by itself.
///
/// # Errors
/// The cache cannot be read or written.
pub fn forget_local(cache: &Path) -> Result<(), Failure> {
    let mut folders = notes(cache)?;
    while let Some(folder) = folders.pop() {
        for path in entries(&folder)? {
            let Ok(found) = path.symlink_metadata() else { continue };
            if found.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rev") {
                files::delete(&path)?;
            }
        }
    }
    Ok(())
}

/// Removes the links to removed wheels from a uv cache, with the files beside them. Without this, uv would fail for a
/// wheel that came from a folder instead of unpacking it again.
///
/// # Errors
/// The cache cannot be read or written. The caller holds uv's lock exclusively.
pub fn forget_gone(cache: &Path) -> Result<(), Failure> {
    let mut folders = notes(cache)?;
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

/// True if no file below `folder` has another hard link.
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
