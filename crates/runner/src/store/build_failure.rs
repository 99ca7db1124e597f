//! Shares the failure of a build with the processes that wait for its lock. Without this, each would repeat the failing
//! build in turn.
//!
//! A process that fails writes the failure beside the build's lock before it releases the lock. A process that was
//! already waiting reports the same failure; one that comes later builds again.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hybrid_cache_model::{Failure, FailureKind};

use super::files;

/// Suffix of the file; the rest of its name is the lock's.
pub const SUFFIX: &str = ".failed";

/// Kinds of failure that an immediate second attempt would have too.
const SHARED: [FailureKind; 5] = [
    FailureKind::Offline,
    FailureKind::Unsatisfiable,
    FailureKind::NoWheel,
    FailureKind::UnknownPackage,
    FailureKind::UnknownSystemPackage,
];

fn path(lock: &Path) -> PathBuf {
    let mut name = lock.file_name().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    lock.with_file_name(name)
}

/// Writes the failure of the build whose lock this process holds. If that is impossible, waiting processes build for
/// themselves.
pub fn note(lock: &Path, failure: &Failure) {
    if SHARED.contains(&failure.kind)
        && let Ok(text) = serde_json::to_vec(failure)
    {
        drop(files::write_atomic(&path(lock), &text));
    }
}

/// The failure that was written after `since`, the time at which this process began to wait for the lock.
pub fn noted_since(lock: &Path, since: SystemTime) -> Option<Failure> {
    let path = path(lock);
    let noted_at = path.metadata().and_then(|found| found.modified()).ok()?;
    // A time in the future comes from another clock and cannot be compared.
    if noted_at <= since || noted_at > SystemTime::now() {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_a_waiting_build_takes_over_a_repeatable_failure() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("default-k");
        let (before, offline) = (SystemTime::now(), Failure::new(FailureKind::Offline, "no index"));
        assert_eq!(noted_since(&lock, before), None);
        std::thread::sleep(Duration::from_millis(30));
        note(&lock, &Failure::new(FailureKind::DiskFull, "full"));
        assert_eq!(noted_since(&lock, before), None);
        note(&lock, &offline);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(noted_since(&lock, before), Some(offline));
        assert_eq!(noted_since(&lock, SystemTime::now()), None);
    }
}
