//! Advisory locks on files: build locks with a deadline, leases that never wait.
//!
//! They are open file description locks (`F_OFD_SETLK`). The kernel drops one with the last copy of its descriptor, so a
//! killed process leaves none behind. An exclusive lock needs a descriptor that may write, and a task's mounts are
//! read-only: a task can exclude nobody. A `flock` that it takes lies beside these locks and meets none of them. Between
//! clients of one NFS export locks cannot be relied on; therefore nothing here is needed for correct publishing (see
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
    /// Beside other shared locks: somebody uses the object.
    Shared,
    /// Alone: somebody makes or removes the object.
    Exclusive,
}

/// Whether a lock file is made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Make it; the volume must be writable.
    Create,
    /// Leave it. For a shared lock opening read-only is enough, so it works on a read-only mount.
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

    /// Gives the lock up as an open file; it stays held until that file, and every copy of it, is closed.
    pub fn into_file(self) -> File {
        self.file
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

    /// Notes who holds the lock, for the error message of those who wait in vain. Best effort by nature.
    fn note_holder(&mut self) {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let note = format!("process {} on {host}\n", std::process::id());
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(note.as_bytes()));
        // A volume without room must not keep anybody from holding a lock.
        drop(written);
    }
}

/// Tries to take a lock without waiting: `None` where another holds it, or where the file is absent or being removed.
///
/// # Errors
/// The file cannot be opened, or the file system knows no locks.
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

/// Asks whether anybody holds a lock on the file, in any mode, without taking one: nobody misses a lock because of this.
/// False where the file is not there.
///
/// # Errors
/// The file cannot be opened, or the file system knows no locks.
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

/// The lock that other programs take (`flock`): uv on its cache, for one. A descriptor that reads is enough for any mode.
fn set_whole_file(file: &File, mode: Mode) -> Result<(), Errno> {
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    rustix::fs::flock(file, operation).map_err(|error| Errno::from_raw(error.raw_os_error()))
}

/// Tries to take alone, as `flock`, the lock of another program's file; `None` where it is held, or is not there.
///
/// # Errors
/// The file cannot be opened, or the file system knows no locks.
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

/// Takes the lock at `path`, making the file where needed, and waits for it until `deadline`.
///
/// The system call has no time-out of its own and a thread blocked in it could not be ended, so this asks again with growing
/// pauses; the longest pause is small against anything a build lock protects.
///
/// # Errors
/// [`FailureKind::Deadline`] naming the path and, where known, the holder; or the file cannot be opened.
pub fn wait(path: &Path, mode: Mode, deadline: Instant) -> Result<Lock, Failure> {
    wait_unless(path, mode, deadline, || false)
}

/// The same, given up as soon as `given_up` says so.
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
        "{} was held by {holder} for all of {} ms",
        path.display(),
        waited.as_millis()
    );
    Failure::new(FailureKind::Deadline, message)
        .hint("another preparation of the same packages is running; try again when it has ended")
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
    fn asking_sees_locks_of_both_kinds_and_takes_none() {
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
    fn what_a_reader_of_the_file_can_lock_excludes_nobody() {
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
    fn a_lock_whose_file_was_moved_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let held = attempt(&path, Mode::Shared, Missing::Create).unwrap().unwrap();
        assert!(held.still_in_place());
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        assert!(!held.still_in_place());
    }
}
