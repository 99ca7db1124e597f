//! Advisory locks on files: build locks with a deadline, leases that never wait.
//!
//! They are open file description locks (`F_OFD_SETLK`). The kernel releases one with the last copy of its descriptor,
//! so a killed process leaves no lock. An exclusive lock needs a writable descriptor, and a task's mounts are
//! read-only, so a task cannot exclude other processes. A `flock` that a task takes does not conflict with these locks.
//! Locks are unreliable between clients of one NFS export; publishing is therefore correct without them (see
//! [`super::files`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::{Failure, FailureKind, Protection};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::FlockOperation;

use super::failure::IoContext;

/// Shortest and longest pause between two attempts at a lock.
const PAUSES_MS: [u64; 2] = [1, 50];

/// How a lock excludes others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Allows other shared locks: the holder uses the object.
    Shared,
    /// Excludes all others: the holder creates or removes the object.
    Exclusive,
}

/// What to do if the lock file does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Create it; the volume must be writable.
    Create,
    /// Take no lock. A shared lock is then opened read-only, so it works on a read-only mount.
    Absent,
}

/// A lock that is held as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// The file that carries the lock, for handing it on to a child process.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The path under which the lock was taken.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True while the locked file is still the one at its path: an evictor renames before it deletes.
    pub fn still_in_place(&self) -> bool {
        let [Ok(held), Ok(found)] = [self.file.metadata(), std::fs::metadata(&self.path)] else {
            return false;
        };
        (held.dev(), held.ino()) == (found.dev(), found.ino())
    }

    /// Writes who holds the lock, for the error message of processes that time out. Best effort.
    fn note_holder(&mut self) {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let note = format!("process {} on {host}\n", std::process::id());
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(note.as_bytes()));
        // Ignore a full volume: the lock is held anyway.
        drop(written);
    }
}

/// Tries to take a lock without waiting. `None` if another process holds it, or if the file is absent or being removed.
///
/// # Errors
/// The file cannot be opened, or the file system does not support locks.
pub fn attempt(path: &Path, mode: Mode, missing: Missing) -> Result<Option<Lock>, Failure> {
    let file = match open(path, mode, missing) {
        Ok(file) => file,
        Err(error) if missing == Missing::Absent && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).io_context("open the lock", path),
    };
    match set(&file, mode) {
        Ok(()) => {}
        Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => return Ok(None),
        Err(error) => return Err(error).io_context("lock", path),
    }
    let mut lock = Lock {
        file,
        path: path.to_owned(),
    };
    if !lock.still_in_place() {
        return Ok(None);
    }
    if (mode, missing) == (Mode::Exclusive, Missing::Create) {
        lock.note_holder();
    }
    Ok(Some(lock))
}

/// True if any process holds a lock on the file, in any mode. Takes no lock itself, so it makes no other attempt fail.
/// False if the file does not exist.
///
/// # Errors
/// The file cannot be opened, or the file system does not support locks.
pub fn is_held(path: &Path) -> Result<bool, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).io_context("open the lock", path),
    };
    if !Protection::LeaseLocks.is_on() {
        return Ok(set_whole_file(&file, Mode::Exclusive).is_err());
    }
    let mut wanted = whole(Mode::Exclusive);
    match fcntl(&file, FcntlArg::F_OFD_GETLK(&mut wanted)) {
        Ok(_) => Ok(i32::from(wanted.l_type) != libc::F_UNLCK),
        Err(error) => Err(error).io_context("ask for the lock", path),
    }
}

/// Asks the kernel for a lock on the whole file, without waiting.
fn set(file: &File, mode: Mode) -> Result<(), Errno> {
    if !Protection::LeaseLocks.is_on() {
        return set_whole_file(file, mode);
    }
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole(mode))).map(drop)
}

#[expect(clippy::cast_possible_truncation, reason = "the kernel's constants are 0 to 2")]
fn whole(mode: Mode) -> libc::flock {
    let kind = match mode {
        Mode::Shared => libc::F_RDLCK,
        Mode::Exclusive => libc::F_WRLCK,
    };
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        // To the end, wherever that is.
        l_len: 0,
        // Required to be 0 for a lock of an open file description.
        l_pid: 0,
    }
}

/// The lock that other programs take (`flock`), such as uv on its cache. A read-only descriptor is enough for both
/// modes.
fn set_whole_file(file: &File, mode: Mode) -> Result<(), Errno> {
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    rustix::fs::flock(file, operation).map_err(|error| Errno::from_raw(error.raw_os_error()))
}

/// Tries to take an exclusive `flock` on another program's lock file. `None` if it is held or does not exist.
///
/// # Errors
/// The file cannot be opened, or the file system does not support locks.
pub fn attempt_flock(path: &Path) -> Result<Option<File>, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).io_context("open the lock", path),
    };
    match set_whole_file(&file, Mode::Exclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(error) => Err(error).io_context("lock", path),
    }
}

/// Takes the lock at `path`, creating the file if needed. Waits until `deadline`.
///
/// The system call has no timeout, and a thread blocked in it could not be stopped, so this polls with growing pauses.
/// The longest pause is short compared to any build.
///
/// # Errors
/// [`FailureKind::Deadline`] with the path and, if known, the holder; or the file cannot be opened.
pub fn wait(path: &Path, mode: Mode, deadline: Instant) -> Result<Lock, Failure> {
    wait_unless(path, mode, deadline, || false)
}

/// Like [`wait`], but also stops when `given_up` returns true.
///
/// # Errors
/// Those of [`wait`].
pub fn wait_unless(path: &Path, mode: Mode, deadline: Instant, given_up: impl Fn() -> bool) -> Result<Lock, Failure> {
    let started = Instant::now();
    let mut pause_ms = PAUSES_MS[0];
    loop {
        if let Some(lock) = attempt(path, mode, Missing::Create)? {
            return Ok(lock);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || given_up() {
            return Err(timed_out(path, started.elapsed()));
        }
        std::thread::sleep(left.min(Duration::from_millis(pause_ms)));
        pause_ms = (pause_ms * 2).min(PAUSES_MS[1]);
    }
}

fn open(path: &Path, mode: Mode, missing: Missing) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write((mode, missing) != (Mode::Shared, Missing::Absent))
        .create(missing == Missing::Create)
        .truncate(false)
        .mode(0o644);
    options.open(path)
}

fn timed_out(path: &Path, waited: Duration) -> Failure {
    let holder = std::fs::read_to_string(path).unwrap_or_default();
    let holder = if holder.trim().is_empty() {
        "another process"
    } else {
        holder.trim()
    };
    let message = format!(
        "{} was locked by {holder} for {} ms",
        path.display(),
        waited.as_millis()
    );
    Failure::new(FailureKind::Deadline, message)
        .hint("another preparation of the same packages is running; run the task again when it has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_excludes_and_shared_shares() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        assert!(attempt(&path, Mode::Shared, Missing::Absent).unwrap().is_none());
        let first = attempt(&path, Mode::Shared, Missing::Create).unwrap().unwrap();
        let second = attempt(&path, Mode::Shared, Missing::Absent).unwrap().unwrap();
        assert!(attempt(&path, Mode::Exclusive, Missing::Absent).unwrap().is_none());
        drop((first, second));
        assert!(attempt(&path, Mode::Exclusive, Missing::Absent).unwrap().is_some());
    }

    #[test]
    fn is_held_sees_both_modes_and_takes_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        assert!(!is_held(&path).unwrap());
        for mode in [Mode::Shared, Mode::Exclusive] {
            let held = attempt(&path, mode, Missing::Create).unwrap().unwrap();
            assert!(is_held(&path).unwrap(), "{mode:?}");
            drop(held);
            assert!(!is_held(&path).unwrap(), "{mode:?}");
        }
    }

    #[test]
    fn waiting_ends_at_the_deadline_and_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let _held = attempt(&path, Mode::Exclusive, Missing::Create).unwrap().unwrap();
        let failure = wait(&path, Mode::Exclusive, Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Deadline);
        assert!(
            failure.message.contains(&format!("process {} on", std::process::id())),
            "{failure}"
        );
        assert!(failure.message.contains(path.to_str().unwrap()), "{failure}");
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let held = attempt(&path, Mode::Exclusive, Missing::Create).unwrap().unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(&path, Mode::Exclusive, Instant::now() + Duration::from_secs(20)));
            std::thread::sleep(Duration::from_millis(5));
            drop(held);
            assert!(waiter.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_lock_from_a_read_only_descriptor_excludes_no_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(set(&reader, Mode::Exclusive), Err(Errno::EBADF));
        for mode in [Mode::Shared, Mode::Exclusive] {
            set_whole_file(&reader, mode).unwrap();
            for mode in [Mode::Shared, Mode::Exclusive] {
                assert!(attempt(&path, mode, Missing::Absent).unwrap().is_some(), "{mode:?}");
            }
        }
    }

    #[test]
    fn a_lock_lives_until_the_last_copy_of_its_descriptor_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let held = attempt(&path, Mode::Shared, Missing::Create).unwrap().unwrap();
        let copy = held.file().try_clone().unwrap();
        // Closing another descriptor of the same file, as opposed to a copy, lets nothing go.
        drop((held, File::open(&path).unwrap()));
        assert!(attempt(&path, Mode::Exclusive, Missing::Absent).unwrap().is_none());
        drop(copy);
        assert!(attempt(&path, Mode::Exclusive, Missing::Absent).unwrap().is_some());
    }

    #[test]
    fn a_lock_whose_file_was_moved_is_not_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let held = attempt(&path, Mode::Shared, Missing::Create).unwrap().unwrap();
        assert!(held.still_in_place());
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        assert!(!held.still_in_place());
    }
}
