//! A file system of a claim's size, as an ordinary user would find it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hybrid_cache_sizing::Weight;
use rustix::fs::{FallocateFlags, fallocate};

use crate::caches::within;
use crate::chaos::disk::{self, Mounted};
use crate::error::TrialError;

/// As `mkfs.ext4` makes large file systems; small ones would get more inodes. Nothing is kept for root, because the replay
/// may run as root: [`RESERVED`] is taken instead, by a file.
const OPTIONS: &[&str] = &["-b", "4096", "-i", "16384", "-m", "0"];
/// The part of a file system that mkfs keeps for root by default: a twentieth.
const RESERVED: u64 = 20;
/// Deadline for unmounting.
const PATIENCE: Duration = Duration::from_secs(3);
/// Each gets another name: the one before may still be held.
static NUMBER: AtomicU32 = AtomicU32::new(0);
/// Folder of the volume on the file system.
pub const VOLUME: &str = "volume";
/// Files that are not the volume's.
const BALLAST: &str = "kept-for-root";
const FOREIGN: &str = "foreign";

/// Why no file system can be made and mounted here; `None` if it can.
pub fn cannot() -> Option<&'static str> {
    disk::cannot_loop()
}

/// A block device, by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which driver: 7 for loop devices.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// A mounted file system with an empty volume on it.
#[derive(Debug)]
pub struct MountedVolume {
    mounted: Mounted,
    image: PathBuf,
    /// Its room for an ordinary user.
    pub room: Weight,
}

impl MountedVolume {
    /// Makes one of that size in a folder.
    ///
    /// # Errors
    /// It cannot be made or mounted.
    pub async fn make(folder: &Path, bytes: u64) -> Result<MountedVolume, TrialError> {
        let name = NUMBER.fetch_add(1, Ordering::Relaxed);
        let image = folder.join(format!("image-{name}"));
        disk::make_image_with(&image, bytes, OPTIONS).await?;
        let mounted = disk::attach(&image, &folder.join(format!("mount-{name}")), "nosuid,nodev").await?;
        allocate(&mounted.at().join(BALLAST), bytes / RESERVED)?;
        let made = MountedVolume {
            room: free(&mounted)?,
            mounted,
            image,
        };
        let volume = made.volume();
        fs::create_dir(&volume).map_err(TrialError::io(format!("making {}", volume.display())))?;
        Ok(made)
    }

    /// Where it is mounted.
    pub fn at(&self) -> &Path {
        self.mounted.at()
    }

    /// The device that it is on.
    ///
    /// # Errors
    /// The mount does not answer.
    pub fn device(&self) -> Result<Device, TrialError> {
        let found = fs::metadata(self.at()).map_err(TrialError::io("asking for the device of a mount"))?;
        Ok(Device {
            major: rustix::fs::major(found.dev()),
            minor: rustix::fs::minor(found.dev()),
        })
    }

    /// The folder of the volume.
    pub fn volume(&self) -> PathBuf {
        self.mounted.at().join(VOLUME)
    }

    /// What is free.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn free(&self) -> Result<Weight, TrialError> {
        free(&self.mounted)
    }

    /// Takes space for a file of another user, until at most so many bytes are free.
    ///
    /// # Errors
    /// It cannot be taken.
    pub fn fill(&self, left_bytes: u64) -> Result<(), TrialError> {
        let path = self.mounted.at().join(FOREIGN);
        let mine = fs::metadata(&path).map_or(0, |found| found.len());
        let wanted = self.free()?.bytes.saturating_sub(left_bytes);
        if wanted == 0 {
            return Ok(());
        }
        // Blocks that say where the file's blocks are need room as well, so the last ones are tried for.
        let mut more = wanted;
        while more >= 4096 {
            match allocate(&path, mine + more) {
                Ok(()) => break,
                Err(error) if more < 65_536 => return Err(error),
                Err(_) => more -= more / 64 + 4096,
            }
        }
        Ok(())
    }

    /// Takes that file away.
    ///
    /// # Errors
    /// It cannot be deleted.
    pub fn clear(&self) -> Result<(), TrialError> {
        fs::remove_file(self.mounted.at().join(FOREIGN)).map_err(TrialError::io("deleting what filled the volume"))
    }

    /// Unmounts it and deletes its file. A sandbox that another user began meanwhile has a copy of the mount and keeps the
    /// loop device for as long as it lives: nothing waits for that.
    ///
    /// # Errors
    /// The file cannot be deleted.
    pub async fn end(self) -> Result<(), TrialError> {
        // Late or not, it is not mounted here any more.
        drop(within("unmounting", PATIENCE, self.mounted.unmount()).await);
        fs::remove_file(&self.image).map_err(TrialError::io(format!("deleting {}", self.image.display())))
    }
}

fn free(mounted: &Mounted) -> Result<Weight, TrialError> {
    let found = mounted.free()?;
    Ok(Weight::new(found.bytes, found.inodes))
}

fn allocate(path: &Path, bytes: u64) -> Result<(), TrialError> {
    let failed = || TrialError::io(format!("taking {bytes} bytes for {}", path.display()));
    let file = File::options().create(true).append(true).open(path).map_err(failed())?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes).map_err(|error| failed()(error.into()))
}

#[cfg(test)]
mod tests {
    use hybrid_cache_sizing::claim::FileSystem;

    use super::*;

    #[tokio::test]
    async fn the_room_of_a_small_file_system_is_what_the_model_says() {
        if let Some(why) = cannot() {
            println!("skipped: the_room_of_a_small_file_system_is_what_the_model_says: {why}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        for mib in [64, 72, 100, 120, 128, 150, 180, 230, 300, 450] {
            let bytes = mib << 20;
            let ground = MountedVolume::make(folder.path(), bytes).await.unwrap();
            let (found, expected) = (ground.room, FileSystem::Ext4.room_of(bytes));
            ground.end().await.unwrap();
            let near = |found: u64, expected: u64| found.abs_diff(expected) * 200 <= expected;
            assert!(
                near(found.bytes, expected.bytes) && near(found.inodes, expected.inodes),
                "{mib} MiB: {found:?}, expected {expected:?}"
            );
        }
    }
}
