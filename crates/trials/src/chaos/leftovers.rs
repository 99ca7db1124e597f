//! Leftovers of killed preparations on a Python volume: finds them, measures them, and makes them look old.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::volume;

/// The size of leftovers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOvers {
    /// Allocated bytes of files without another hard link.
    pub bytes: u64,
    /// Number of files, folders and links.
    pub files: u64,
}

impl std::fmt::Display for LeftOvers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = self.bytes.div_ceil(100_000);
        write!(f, "{}.{} MB in {} files", tenths / 10, tenths % 10, self.files)
    }
}

/// Everything that is unneeded if no preparation is running: staging folders, trash, temporary folders of uv, and build locks of
/// requests that do not exist.
pub fn paths(python: &Path) -> Vec<PathBuf> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let tenants = entries(&python.join("tenants"));
    let mut roots = entries(&python.join("trash"));
    let mut requests = Vec::new();
    for tenant in &tenants {
        roots.extend(entries(&tenant.join("staging")));
        roots.extend(entries(&tenant.join("trash")));
        requests.extend(entries(&tenant.join("requests")).iter().map(|path| name(path)));
    }
    let caches = tenants
        .iter()
        .map(|tenant| tenant.join("uv"))
        .chain([python.join("uv")]);
    let is_unfinished = |path: &PathBuf| name(path).starts_with(".tmp");
    for cache in caches {
        let (unfinished, buckets): (Vec<_>, Vec<_>) = entries(&cache).into_iter().partition(is_unfinished);
        roots.extend(unfinished);
        let inside = buckets.iter().flat_map(|bucket| entries(bucket));
        roots.extend(inside.filter(is_unfinished));
    }
    // Locks are named `<tenant>-<request>`, except for a few of the volume's own.
    let is_dead = |path: &PathBuf| {
        let name = name(path);
        name.contains('-') && !requests.iter().any(|request| name.contains(request.as_str()))
    };
    roots.extend(entries(&python.join("locks")).into_iter().filter(is_dead));
    roots
}

/// Measures all leftovers.
pub fn measure(python: &Path) -> LeftOvers {
    let mut total = LeftOvers::default();
    for root in paths(python) {
        let mut all = volume::find(&root, |_| true);
        all.push(root);
        for path in all {
            let Ok(found) = path.symlink_metadata() else { continue };
            total.files += 1;
            // A file of an environment or of uv's cache has another hard link there, where it is needed.
            if found.is_dir() || found.nlink() == 1 {
                total.bytes += found.blocks() * 512;
            }
        }
    }
    total
}

/// Sets the time stamps of a file, folder or link itself to that time.
pub fn stamp(path: &Path, at: SystemTime) {
    let seconds = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    };
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    // A path that vanished meanwhile needs no time stamp.
    let _ = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Makes all leftovers older than every grace period.
pub fn make_old(python: &Path) {
    let long_ago = SystemTime::now() - Duration::from_secs(48 * 3600);
    for root in paths(python) {
        for path in volume::find(&root, |_| true) {
            stamp(&path, long_ago);
        }
        stamp(&root, long_ago);
    }
}

/// Creates a leftover of each kind, so that a judge has something to notice.
pub fn make_up(python: &Path) {
    let folder = python.join("uv").join(".tmpMadeUp");
    // If it cannot be created, the check of the checker notices.
    let _ = fs::create_dir_all(&folder);
    let _ = File::create(folder.join("file"));
    let _ = fs::create_dir_all(python.join("trash").join("made-up"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_found_and_needed_files_are_not() {
        let root = tempfile::tempdir().unwrap();
        let python = root.path();
        for folder in [
            "tenants/default/requests",
            "tenants/default/staging/make-1/env",
            "uv/wheels-v5",
            "locks",
        ] {
            fs::create_dir_all(python.join(folder)).unwrap();
        }
        for file in [
            "tenants/default/requests/aaaa",
            "locks/default-aaaa",
            "locks/bytecode",
            "uv/wheels-v5/x",
        ] {
            File::create(python.join(file)).unwrap();
        }
        assert_eq!(measure(python).files, 2);
        make_up(python);
        File::create(python.join("locks/default-bbbb")).unwrap();
        assert_eq!(measure(python).files, 6);
        make_old(python);
        let age = |path: &str| {
            fs::metadata(python.join(path))
                .unwrap()
                .modified()
                .unwrap()
                .elapsed()
                .unwrap()
        };
        assert!(age("uv/.tmpMadeUp/file") > Duration::from_secs(3600));
        assert!(age("locks/default-aaaa") < Duration::from_secs(3600));
    }
}
