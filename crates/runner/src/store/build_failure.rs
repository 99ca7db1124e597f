//! The failure of a build, for those who wait for it: each would repeat it otherwise, one after the other.
//!
//! Whoever fails writes it beside the build's lock before letting go. Whoever began to wait before that takes it over;
//! whoever comes later builds.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hybrid_cache_model::{Failure, FailureKind};

use super::files;

/// How the name of such a file ends; before that it is the lock's.
pub const SUFFIX: &str = ".failed";

/// Kinds of failure that the next attempt at the same moment would meet again.
const SHARED: [FailureKind; 4] = [
    FailureKind::Offline,
    FailureKind::Unsatisfiable,
    FailureKind::UnknownPackage,
    FailureKind::UnknownSystemPackage,
];

fn path(lock: &Path) -> PathBuf {
    let mut name = lock.file_name().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    lock.with_file_name(name)
}

/// Notes the failure of the build whose lock this process holds. Where it cannot be, those who wait find out themselves.
pub fn note(lock: &Path, failure: &Failure) {
    if SHARED.contains(&failure.kind)
        && let Ok(text) = serde_json::to_vec(failure)
    {
        drop(files::write_atomic(&path(lock), &text));
    }
}

/// The failure that was noted after `since`, from when on this process waits for the lock.
pub fn noted_since(lock: &Path, since: SystemTime) -> Option<Failure> {
    let path = path(lock);
    let noted_at = path.metadata().and_then(|found| found.modified()).ok()?;
    // A time ahead of now is of another clock and says nothing.
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
    fn only_who_waited_and_only_for_what_would_fail_again() {
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
