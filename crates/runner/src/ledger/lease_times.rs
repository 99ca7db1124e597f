//! Helpers of both refreshes: times of use from leases, and stamps that identify a file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use hybrid_cache_model::{Failure, FailureKind};

/// The time of the last use, from the ledger and from the lease's modification time. A time in the future comes from a
/// clock that was set back since; it counts as now, because it would protect the environment from eviction for too
/// long.
pub fn last_use(known_us: Option<u64>, lease_us: u64, now_us: u64) -> u64 {
    let known_us = known_us.filter(|known_us| *known_us <= now_us);
    match (known_us, lease_us <= now_us) {
        (known_us, true) => known_us.unwrap_or(0).max(lease_us),
        (Some(known_us), false) => known_us,
        (None, false) => now_us,
    }
}

/// Microseconds since 1970; 0 if the time is earlier or unknown.
pub fn micros(time: std::io::Result<SystemTime>) -> u64 {
    let since = time
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Identifies a file, so that a later file at the same path, or on another volume, is noticed: its inode and its time
/// of birth.
pub fn stamp(found: &Metadata) -> u64 {
    found.ino().rotate_left(40) ^ micros(found.created())
}

/// True if the failure only means that another process has removed `path`.
pub fn has_gone(failure: &Failure, path: &Path) -> bool {
    failure.kind == FailureKind::CacheAccess && path.symlink_metadata().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_use_in_the_future_counts_as_now() {
        // Nothing known, known, and known from a clock that was ahead as well.
        assert_eq!(last_use(None, 90, 100), 90);
        assert_eq!(last_use(Some(95), 90, 100), 95);
        assert_eq!(last_use(None, 900, 100), 100);
        assert_eq!(last_use(Some(50), 900, 100), 50);
        assert_eq!(last_use(Some(900), 90, 100), 90);
        assert_eq!(last_use(Some(900), 900, 100), 100);
    }
}
