//! Opening a ledger: under its lock, brought up to date with the volume, written back.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use hybrid_cache_model::{Failure, FailureKind};

use super::Ledger;
use crate::python::PythonVolume;
use crate::store::files;
use crate::store::format::FORMAT_FILE;
use crate::store::lock::{self, Lock, Mode};
use crate::system::SystemVolume;

/// Name of the lock that writers of the ledger hold.
const LOCK: &str = "ledger";

/// A ledger that agrees with its volume.
#[derive(Debug)]
pub struct Open {
    /// What is known of the volume.
    pub ledger: Ledger,
    path: PathBuf,
    lock: Option<Lock>,
}

/// Opens the ledger of a Python volume; waits for other writers until `deadline`.
///
/// Without the lock, which a read-only or full volume does not give, it is read all the same, and nothing is written back.
///
/// # Errors
/// The volume cannot be read.
pub fn python(volume: &PythonVolume, deadline: Instant) -> Result<Open, Failure> {
    let mut open = open(volume.root(), &volume.locks(), deadline);
    super::python::refresh(volume, &mut open.ledger)?;
    open.save();
    Ok(open)
}

/// Opens the ledger of a system volume likewise.
///
/// # Errors
/// The volume cannot be read.
pub fn system(volume: &SystemVolume, deadline: Instant) -> Result<Open, Failure> {
    let mut open = open(&volume.state(), &volume.state().join("locks"), deadline);
    super::system::refresh(volume, &mut open.ledger)?;
    open.save();
    Ok(open)
}

fn open(root: &Path, locks: &Path, deadline: Instant) -> Open {
    let wait = || {
        files::ensure_folder(locks)?;
        lock::wait(&locks.join(LOCK), Mode::Exclusive, deadline)
    };
    // A folder with locks and no layout is taken for a stranger's: one without a layout is left as it is.
    let is_laid_out = root.join(FORMAT_FILE).exists();
    let path = super::path(root);
    Open {
        lock: is_laid_out.then(wait).and_then(Result::ok),
        ledger: Ledger::read(&path),
        path,
    }
}

impl Open {
    /// True where this one writes: another process that does waits, or does without.
    pub fn is_ours(&self) -> bool {
        self.lock.is_some()
    }

    /// Looks at the Python volume again.
    ///
    /// # Errors
    /// The volume cannot be read.
    pub fn refresh_python(&mut self, volume: &PythonVolume) -> Result<(), Failure> {
        super::python::refresh(volume, &mut self.ledger)
    }

    /// Looks at the system volume again.
    ///
    /// # Errors
    /// The volume cannot be read.
    pub fn refresh_system(&mut self, volume: &SystemVolume) -> Result<(), Failure> {
        super::system::refresh(volume, &mut self.ledger)
    }

    /// Writes down what has changed, as far as that is possible.
    pub fn save(&mut self) {
        if self.lock.is_some() {
            // A volume without room keeps nobody from working with what was measured; the next one measures again.
            drop(self.ledger.save(&self.path));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.save();
    }
}

/// The time of the last use, from what is known and from the lease's own time. A time ahead of now is of a clock that was
/// set back since: believed, it would keep eviction away for as long. It counts as the moment in which it was seen first.
pub(super) fn last_use(known_us: Option<u64>, lease_us: u64, now_us: u64) -> u64 {
    let known_us = known_us.filter(|known_us| *known_us <= now_us);
    match (known_us, lease_us <= now_us) {
        (known_us, true) => known_us.unwrap_or(0).max(lease_us),
        (Some(known_us), false) => known_us,
        (None, false) => now_us,
    }
}

/// Microseconds since 1970; 0 for a time before that or none.
pub(super) fn micros(time: std::io::Result<SystemTime>) -> u64 {
    let since = time
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// What tells a file from another one that comes to its place later, or on another volume: its inode and its birth.
pub(super) fn stamp(found: &Metadata) -> u64 {
    found.ino().rotate_left(40) ^ micros(found.created())
}

/// True for a failure that means "not there any more": others go on with their work meanwhile.
pub(super) fn has_gone(failure: &Failure, path: &Path) -> bool {
    failure.kind == FailureKind::CacheAccess && path.symlink_metadata().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_ahead_of_now_counts_from_when_it_was_seen() {
        // Nothing known, known, and known from a clock that was ahead as well.
        assert_eq!(last_use(None, 90, 100), 90);
        assert_eq!(last_use(Some(95), 90, 100), 95);
        assert_eq!(last_use(None, 900, 100), 100);
        assert_eq!(last_use(Some(50), 900, 100), 50);
        assert_eq!(last_use(Some(900), 90, 100), 90);
        assert_eq!(last_use(Some(900), 900, 100), 100);
    }
}
