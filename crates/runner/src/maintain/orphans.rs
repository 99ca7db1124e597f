//! Byte-code and unpacked wheels that no environment shares any more.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hybrid_cache_model::Failure;

use super::entries;
use crate::python::PythonVolume;
use crate::store::lock::{self, Missing, Mode};
use crate::store::publish;

/// Younger files may be on their way into an environment at this moment.
const SETTLED: Duration = Duration::from_secs(60);

/// Removes byte-code that only the pool has; how many files that were.
///
/// # Errors
/// The pool cannot be read or written.
pub fn bytecode(volume: &PythonVolume) -> Result<u64, Failure> {
    let mut removed = 0;
    for abi in entries(&volume.bytecode())? {
        for folder in entries(&abi)? {
            for file in entries(&folder)? {
                if is_single(&file) && is_settled(&file) {
                    publish::delete(&file)?;
                    removed += 1;
                }
            }
        }
    }
    Ok(removed)
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

fn is_single(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.nlink() == 1)
}

/// By the time of the last change of the inode, which a new or lost name changes too.
fn is_settled(path: &Path) -> bool {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    path.symlink_metadata().is_ok_and(|found| {
        let changed = Duration::from_secs(u64::try_from(found.ctime()).unwrap_or_default());
        now.saturating_sub(changed) > SETTLED
    })
}
