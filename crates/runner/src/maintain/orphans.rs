//! Byte-code and unpacked wheels that no environment of any tenant shares any more.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::IndexScope;
use hybrid_cache_model::{Failure, FailureKind};

use super::entries;
use crate::python::{PythonVolume, pool};
use crate::store::lock::{self, Mode};
use crate::store::publish;

/// How long to wait for publishers; each holds the pool for about as long as its byte-code takes to compile.
const POOL_WAIT: Duration = Duration::from_secs(2);

/// Removes the pools' folders that no published environment links to; how many those were.
///
/// Marks and sweeps under the pool's lock: an environment that is being published is not seen, but its publisher
/// holds the lock. Where publishers keep it busy, nothing is swept this time.
///
/// # Errors
/// The volume cannot be read or written.
pub fn bytecode(volume: &PythonVolume) -> Result<u64, Failure> {
    let mut pools: Vec<PathBuf> = Vec::new();
    let tenants = PythonVolume::all(volume.root())?;
    for pool in tenants.iter().flat_map(pool::all) {
        if pool.exists() && !pools.contains(&pool) {
            pools.push(pool);
        }
    }
    if pools.is_empty() {
        return Ok(0);
    }
    let _alone = match pool::lock(volume, Mode::Exclusive, Instant::now() + POOL_WAIT) {
        Err(failure) if failure.kind == FailureKind::Deadline => return Ok(0),
        other => other?,
    };
    let linked = linked(&tenants)?;
    let mut removed = 0;
    for pool in pools {
        for abi in entries(&pool)? {
            for folder in entries(&abi)? {
                if !linked.contains(&folder) {
                    publish::discard(&folder, &volume.trash())?;
                    removed += 1;
                }
            }
        }
    }
    Ok(removed)
}

/// The folders of all pools that environments link to.
fn linked(tenants: &[PythonVolume]) -> Result<HashSet<PathBuf>, Failure> {
    let mut linked = HashSet::new();
    for tenant in tenants {
        for environment in entries(&tenant.environments())? {
            if environment.is_symlink() {
                continue;
            }
            for pool in pool::all(tenant) {
                let links = pool::links(&pool, &environment)?;
                linked.extend(links.into_iter().map(|link| pool.join(link.folder)));
            }
        }
    }
    Ok(linked)
}

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

/// Removes from uv's cache the unpacked wheels of which no environment uses a file; how many wheels that were.
///
/// `uv cache prune` keeps every wheel that its own index mentions, used or not, so it alone frees nothing that counts.
/// uv holds a shared lock on its cache while it works: with the exclusive one no wheel is on its way into an
/// environment. uv takes an unpacked wheel that is not there for one it never had.
///
/// # Errors
/// The cache cannot be read or written.
pub fn wheels(volume: &PythonVolume) -> Result<u64, Failure> {
    let mut removed = 0;
    for (tenant, cache) in uv_caches(volume)? {
        removed += unused(&tenant, &cache)?;
    }
    Ok(removed)
}

fn unused(volume: &PythonVolume, cache: &Path) -> Result<u64, Failure> {
    let Some(_alone) = lock::attempt_flock(&cache.join(".lock"))? else {
        return Ok(0);
    };
    let mut removed = 0;
    for bucket in archives(cache)? {
        for wheel in entries(&bucket)? {
            if wheel.is_dir() && is_unshared(&wheel)? {
                publish::discard(&wheel, &volume.trash())?;
                removed += 1;
            }
        }
    }
    if removed > 0 {
        forget_gone(cache)?;
    }
    Ok(removed)
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
                inside
                    .iter()
                    .filter(is_note)
                    .try_for_each(|note| publish::delete(note))?;
                publish::delete(path)?;
            }
        }
    }
    Ok(())
}

/// True where no file below `folder` has another name anywhere.
fn is_unshared(folder: &Path) -> Result<bool, Failure> {
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
