//! Byte-code and unpacked wheels that no environment shares any more.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::{Failure, FailureKind};

use super::entries;
use crate::python::{PythonVolume, pool};
use crate::store::lock::{self, Missing, Mode};
use crate::store::publish;

/// How long to wait for publishers; each holds the pool for about as long as its byte-code takes to compile.
const POOL_WAIT: Duration = Duration::from_secs(2);

/// Removes the pool's folders that no published environment links to; how many those were.
///
/// Marks and sweeps under the pool's lock: an environment that is being published is not seen, but its publisher
/// holds the lock. Where publishers keep it busy, nothing is swept this time.
///
/// # Errors
/// The volume cannot be read or written.
pub fn bytecode(volume: &PythonVolume) -> Result<u64, Failure> {
    let pool = volume.bytecode();
    if !pool.exists() {
        return Ok(0);
    }
    let _alone = match pool::lock(volume, Mode::Exclusive, Instant::now() + POOL_WAIT) {
        Err(failure) if failure.kind == FailureKind::Deadline => return Ok(0),
        other => other?,
    };
    let linked = linked(volume, &pool)?;
    let mut removed = 0;
    for abi in entries(&pool)? {
        for folder in entries(&abi)? {
            if !folder.strip_prefix(&pool).is_ok_and(|inside| linked.contains(inside)) {
                publish::discard(&folder, &volume.trash())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn linked(volume: &PythonVolume, pool: &Path) -> Result<HashSet<PathBuf>, Failure> {
    let mut linked = HashSet::new();
    for environment in entries(&volume.environments())? {
        if !environment.is_symlink() {
            linked.extend(pool::links(pool, &environment)?.into_iter().map(|link| link.folder));
        }
    }
    Ok(linked)
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
    let cache = volume.uv_cache();
    let Some(_alone) = lock::attempt(&cache.join(".lock"), Mode::Exclusive, Missing::Absent)? else {
        return Ok(0);
    };
    let mut removed = 0;
    for bucket in entries(&cache)? {
        let is_archive = bucket
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("archive-"));
        if !is_archive {
            continue;
        }
        for wheel in entries(&bucket)? {
            if wheel.is_dir() && is_unshared(&wheel)? {
                publish::discard(&wheel, &volume.trash())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
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
