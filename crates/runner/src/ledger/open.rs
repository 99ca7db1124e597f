//! Opening a ledger: under its lock, brought up to date with the volume, written back.

use std::path::{Path, PathBuf};
use std::time::Instant;

use hybrid_cache_model::Failure;

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
pub struct OpenLedger {
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
pub fn python(volume: &PythonVolume, deadline: Instant) -> Result<OpenLedger, Failure> {
    let mut open = open(volume.root(), &volume.locks(), deadline);
    super::python::refresh(volume, &mut open.ledger)?;
    open.save();
    Ok(open)
}

/// Opens the ledger of a system volume likewise.
///
/// # Errors
/// The volume cannot be read.
pub fn system(volume: &SystemVolume, deadline: Instant) -> Result<OpenLedger, Failure> {
    let mut open = open(&volume.state(), &volume.state().join("locks"), deadline);
    super::system::refresh(volume, &mut open.ledger)?;
    open.save();
    Ok(open)
}

fn open(root: &Path, locks: &Path, deadline: Instant) -> OpenLedger {
    let wait = || {
        files::ensure_folder(locks)?;
        lock::wait(&locks.join(LOCK), Mode::Exclusive, deadline)
    };
    // A folder with locks and no layout is taken for a stranger's: one without a layout is left as it is.
    let is_laid_out = root.join(FORMAT_FILE).exists();
    let path = super::path(root);
    OpenLedger {
        lock: is_laid_out.then(wait).and_then(Result::ok),
        ledger: Ledger::read(&path),
        path,
    }
}

impl OpenLedger {
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

impl Drop for OpenLedger {
    fn drop(&mut self) {
        self.save();
    }
}
