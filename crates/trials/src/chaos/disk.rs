//! File systems for a trial: one in memory with a size limit, and one on a loop device that can be copied in the state that a
//! power cut leaves.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, StatVfsMountFlags, seek, statvfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tokio::process::Command;

use crate::caches::within;
use crate::error::TrialError;

/// Deadline for creating or mounting a file system.
const PATIENCE: Duration = Duration::from_secs(30);
/// Number of attempts to copy without a write in between.
const ATTEMPTS: u32 = 40;
/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;

/// A mounted file system. Dropping it unmounts it, even if processes still have files open there.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    image: Option<PathBuf>,
}

/// Free space of a file system for an ordinary user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The file system may be unmounted already; the kernel unmounts one in use as soon as it is free.
        let _ = unmount(&self.at, UnmountFlags::DETACH);
    }
}

/// Mounts a file system in memory that holds this many bytes and inodes.
///
/// # Errors
/// This process may not mount.
pub fn in_memory(at: &Path, bytes: u64, inodes: u64) -> Result<Mounted, TrialError> {
    let failed = || TrialError::io(format!("mounting a tmpfs at {}", at.display()));
    fs::create_dir_all(at).map_err(failed())?;
    let options = format!("size={bytes},nr_inodes={inodes},mode=0700");
    let options = std::ffi::CString::new(options).map_err(|error| TrialError::Other(error.to_string()))?;
    mount(
        "hybrid-cache-chaos",
        at,
        "tmpfs",
        MountFlags::NOSUID,
        options.as_c_str(),
    )
    .map_err(|error| failed()(error.into()))?;
    Ok(Mounted {
        at: at.to_owned(),
        image: None,
    })
}

/// Creates a file with an ext4 file system of this size.
///
/// # Errors
/// The file cannot be created.
pub async fn make_image(file: &Path, bytes: u64) -> Result<(), TrialError> {
    make_image_with(file, bytes, &[]).await
}

/// Creates such a file with options for `mkfs.ext4`.
///
/// # Errors
/// The file cannot be created.
pub async fn make_image_with(file: &Path, bytes: u64, options: &[&str]) -> Result<(), TrialError> {
    let failed = TrialError::io(format!("making {}", file.display()));
    File::create(file)
        .and_then(|made| made.set_len(bytes))
        .map_err(failed)?;
    ran(Command::new("mkfs.ext4").args(["-q", "-F"]).args(options).arg(file)).await
}

/// Mounts such a file through a loop device, which is removed at unmount. A journal with entries is replayed.
///
/// # Errors
/// The file cannot be mounted.
pub async fn attach(image: &Path, at: &Path, options: &str) -> Result<Mounted, TrialError> {
    fs::create_dir_all(at).map_err(TrialError::io(format!("making {}", at.display())))?;
    let options = format!("loop,{options}");
    ran(Command::new("mount")
        .args(["-t", "ext4", "-o", &options])
        .arg(image)
        .arg(at))
    .await?;
    Ok(Mounted {
        at: at.to_owned(),
        image: Some(image.to_owned()),
    })
}

async fn ran(command: &mut Command) -> Result<(), TrialError> {
    command.kill_on_drop(true).stdin(std::process::Stdio::null());
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = within(&name, PATIENCE, command.output())
        .await?
        .map_err(TrialError::io(format!("running {name}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(TrialError::Other(format!("{name} failed: {said}")))
}

impl Mounted {
    /// The mount point.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// Reads the free space.
    ///
    /// # Errors
    /// The file system cannot be queried.
    pub fn free(&self) -> Result<Free, TrialError> {
        let found = statvfs(&self.at).map_err(|error| TrialError::io("asking for free space")(error.into()))?;
        Ok(Free {
            bytes: found.f_bavail * found.f_frsize,
            inodes: found.f_favail,
        })
    }

    /// Makes the file system read-only or writable. Files that are open for writing keep it writable for a moment.
    ///
    /// # Errors
    /// Files stay open for too long.
    pub async fn read_only(&self, wanted: bool) -> Result<(), TrialError> {
        let flags = if wanted {
            MountFlags::RDONLY | MountFlags::NOSUID
        } else {
            MountFlags::NOSUID
        };
        let until = Instant::now() + PATIENCE;
        while let Err(error) = mount_remount(&self.at, flags, "") {
            if error != rustix::io::Errno::BUSY || Instant::now() > until {
                return Err(TrialError::io("mounting it anew")(error.into()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let found = statvfs(&self.at).map_err(|error| TrialError::io("asking for the mount")(error.into()))?;
        match found.f_flag.contains(StatVfsMountFlags::RDONLY) == wanted {
            true => Ok(()),
            false => Err(TrialError::Other("the mount did not change".to_owned())),
        }
    }

    /// Copies the image in the state that a power cut would leave: without data that is not on the device yet. Nothing may be
    /// written to the device during the copy; if something is, the copy is repeated.
    ///
    /// # Errors
    /// The device is never quiet long enough, or the copy cannot be written.
    pub async fn cut(&self, to: &Path) -> Result<(), TrialError> {
        let image = self.image.as_deref().unwrap_or(&self.at);
        let device = device(image).ok_or_else(|| TrialError::Other("the loop device is not there".to_owned()))?;
        for _ in 0..ATTEMPTS {
            let before = writes(&device)?;
            copy_sparse(image, to).map_err(TrialError::io("copying the image"))?;
            let after = writes(&device)?;
            if before == after && before.1 == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(TrialError::Other(
            "the device was written during each of the copies".to_owned(),
        ))
    }

    /// Unmounts the file system and waits until its loop device is gone as well.
    ///
    /// # Errors
    /// A process keeps the file system in use.
    pub async fn unmount(self) -> Result<(), TrialError> {
        let image = self.image.clone();
        let until = Instant::now() + Duration::from_secs(5);
        // Unmount normally first, so that everything is written; then by force.
        while unmount(&self.at, UnmountFlags::empty()) == Err(rustix::io::Errno::BUSY) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(self);
        let Some(image) = image else { return Ok(()) };
        let gone = async {
            while device(&image).is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("the end of a loop device", PATIENCE, gone).await
    }
}

/// The loop device of a file, as the kernel lists it.
fn device(image: &Path) -> Option<PathBuf> {
    let image = image.canonicalize().ok()?;
    let devices = fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.path());
    devices.into_iter().find(|device| {
        let backing = fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
        Path::new(backing.trim_end()) == image
    })
}

/// Writes that the device has finished, and requests in progress.
fn writes(device: &Path) -> Result<(u64, u64), TrialError> {
    let text = fs::read_to_string(device.join("stat")).map_err(TrialError::io("asking for the device's writes"))?;
    let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    match fields[..] {
        [_, _, _, _, written, _, _, _, in_flight, ..] => Ok((written, in_flight)),
        _ => Err(TrialError::Other(format!("the device's numbers are {text:?}"))),
    }
}

/// Copies a file without its holes.
fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (File::open(from)?, File::create(to)?);
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let begin = match seek(&from, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(&from, SeekFrom::Hole(begin))?;
        at = begin;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let read = from.read_at(&mut buffer[..wanted], at)?;
            if read == 0 {
                return Ok(());
            }
            to.write_all_at(&buffer[..read], at)?;
            at += read as u64;
        }
    }
    Ok(())
}

/// Unmounts everything below a folder, the last mount first, to remove what a killed trial left.
pub fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    let mut ours: Vec<&Path> = places.filter(|place| place.starts_with(folder)).collect();
    ours.reverse();
    for place in ours {
        // A later trial finds what stays mounted.
        let _ = unmount(place, UnmountFlags::DETACH);
    }
}

/// Why this process cannot mount; `None` if it can.
pub fn cannot_mount() -> Option<&'static str> {
    let capabilities = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = capabilities.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    // CAP_SYS_ADMIN.
    let may = bits.is_some_and(|bits| bits & (1 << 21) != 0);
    (!may).then_some("it mounts file systems, which needs root: run it as root to try it")
}

/// Why no file system can be created in a file here; `None` if one can.
pub fn cannot_loop() -> Option<&'static str> {
    let is_there = |program: &str| {
        let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
        folders.iter().any(|folder| Path::new(folder).join(program).is_file())
    };
    cannot_mount()
        .or_else(|| (!Path::new("/dev/loop-control").exists()).then_some("this kernel has no loop devices"))
        .or_else(|| (!is_there("mkfs.ext4")).then_some("`mkfs.ext4` is not installed (package e2fsprogs)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_without_holes_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(5 << 20).unwrap();
        file.write_all_at(b"begin", 3).unwrap();
        file.write_all_at(&vec![7; 1_500_000], 2 << 20).unwrap();
        copy_sparse(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
    }
}
