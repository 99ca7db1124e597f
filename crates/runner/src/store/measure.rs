//! Measures disk usage in blocks and inodes; each hard-linked file counts once.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hybrid_cache_model::Failure;
use hybrid_cache_model::budget::FileSystemUsage;

use super::failure::IoContext;

/// Bytes in one block as `stat` counts them, whatever the file system's own block size.
const STAT_BLOCK_BYTES: u64 = 512;

/// The disk usage of a part of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Allocated bytes (blocks times 512) of inodes not counted before.
    pub bytes: u64,
    /// Inodes not counted before.
    pub inodes: u64,
    /// Directory entries, hardlinks included.
    pub entries: u64,
}

impl std::ops::AddAssign for DiskUsage {
    fn add_assign(&mut self, other: DiskUsage) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
        self.entries += other.entries;
    }
}

impl std::ops::SubAssign for DiskUsage {
    /// Saturates at zero, because other processes change the volume meanwhile.
    fn sub_assign(&mut self, other: DiskUsage) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.inodes = self.inodes.saturating_sub(other.inodes);
        self.entries = self.entries.saturating_sub(other.entries);
    }
}

/// Measures parts of one volume in turn; an inode counts for the first part that contains it.
#[derive(Debug)]
pub struct Counter {
    seen: HashSet<(u64, u64)>,
    shared: Shared,
}

/// How a file with several names counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shared {
    CountOnce,
    Leave,
}

impl Default for Counter {
    fn default() -> Counter {
        Counter {
            seen: HashSet::new(),
            shared: Shared::CountOnce,
        }
    }
}

impl Counter {
    /// A counter that has seen nothing.
    pub fn new() -> Counter {
        Counter::default()
    }

    /// The disk usage of `path` and everything below it that was not counted before.
    ///
    /// Entries that other processes remove meanwhile are left out.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn measure(&mut self, path: &Path) -> Result<DiskUsage, Failure> {
        let mut size = DiskUsage::default();
        self.note(path, &mut size);
        let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
        let mut folders: Vec<_> = is_folder.then(|| path.to_owned()).into_iter().collect();
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.io_context("read the folder", &folder)?,
            };
            for entry in entries {
                let entry = entry.io_context("read the folder", &folder)?;
                let path = entry.path();
                self.note(&path, &mut size);
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
            }
        }
        Ok(size)
    }

    /// The disk usage of everything below `path`, without inodes that have other names anywhere.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn own(path: &Path) -> Result<DiskUsage, Failure> {
        let mut counter = Counter {
            shared: Shared::Leave,
            ..Counter::default()
        };
        counter.measure(path)
    }

    /// The disk usage of `path` itself, without what is below it; zero if it does not exist.
    pub fn itself(path: &Path) -> DiskUsage {
        Counter::new().one(path)
    }

    /// The disk usage of `path` itself, if it was not counted before.
    pub fn one(&mut self, path: &Path) -> DiskUsage {
        let mut size = DiskUsage::default();
        self.note(path, &mut size);
        size
    }

    fn note(&mut self, path: &Path, size: &mut DiskUsage) {
        let Ok(found) = path.symlink_metadata() else { return };
        size.entries += 1;
        // Only a file with several names can occur twice; the set stays small without the others.
        let single = found.nlink() < 2 || found.is_dir();
        if single || (self.shared == Shared::CountOnce && self.seen.insert((found.dev(), found.ino()))) {
            size.bytes += found.blocks() * STAT_BLOCK_BYTES;
            size.inodes += 1;
        }
    }
}

/// The size and free space of the file system at `root`.
///
/// # Errors
/// The file system cannot be queried.
pub fn file_system(volume: &str, root: &Path) -> Result<FileSystemUsage, Failure> {
    let found = rustix::fs::statvfs(root).io_context("ask for the free space of", root)?;
    Ok(FileSystemUsage {
        volume: volume.to_owned(),
        total_bytes: found.f_blocks * found.f_frsize,
        free_bytes: found.f_bavail * found.f_frsize,
        total_inodes: found.f_files,
        free_inodes: found.f_favail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardlink_counts_once_and_for_the_first_part() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        for part in [&a, &b] {
            std::fs::create_dir(part).unwrap();
        }
        std::fs::write(a.join("f"), [1; 10_000]).unwrap();
        std::fs::hard_link(a.join("f"), b.join("f")).unwrap();
        let mut counter = Counter::new();
        let first = counter.measure(&a).unwrap();
        let second = counter.measure(&b).unwrap();
        assert_eq!((first.inodes, first.entries), (2, 2));
        assert_eq!((second.inodes, second.entries), (1, 2));
        assert!(first.bytes >= 10_000 && second.bytes < 10_000);
    }
}
