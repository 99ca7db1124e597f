//! Opens a ledger under its lock, brings it up to date with the volume, and saves it when it is dropped.

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

/// A ledger that is up to date with its volume.
#[derive(Debug)]
pub struct OpenLedger {
    /// The measurements.
    pub ledger: Ledger,
    path: PathBuf,
    lock: Option<Lock>,
}

/// Opens the ledger of a Python volume. Waits for other writers until `deadline`.
///
/// Without the lock, which a read-only or full volume does not provide, the ledger is read and not saved.
///
/// # Errors
/// The volume cannot be read.
pub fn python(volume: &PythonVolume, deadline: Instant) -> Result<OpenLedger, Failure> {
    let mut open = open(volume.root(), &volume.locks(), deadline);
    super::python::refresh(volume, &mut open.ledger)?;
    open.save();
    Ok(open)
}

/// Opens the ledger of a system volume, in the same way.
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
    // Do not create locks in a folder without a layout: it would no longer count as empty.
    let is_laid_out = root.join(FORMAT_FILE).exists();
    let path = super::path(root);
    OpenLedger {
        lock: is_laid_out.then(wait).and_then(Result::ok),
        ledger: Ledger::read(&path),
        path,
    }
}

impl OpenLedger {
    /// True if this process holds the lock and saves the ledger.
    pub fn is_ours(&self) -> bool {
        self.lock.is_some()
    }

    /// Brings the ledger up to date with the Python volume.
    ///
    /// # Errors
    /// The volume cannot be read.
    pub fn refresh_python(&mut self, volume: &PythonVolume) -> Result<(), Failure> {
        super::python::refresh(volume, &mut self.ledger)
    }

    /// Brings the ledger up to date with the system volume.
    ///
    /// # Errors
    /// The volume cannot be read.
    pub fn refresh_system(&mut self, volume: &SystemVolume) -> Result<(), Failure> {
        super::system::refresh(volume, &mut self.ledger)
    }

    /// Saves the changes, if this process holds the lock.
    pub fn save(&mut self) {
        if self.lock.is_some() {
            // If the volume is full, the measurements are still valid here; the next process measures again.
            drop(self.ledger.save(&self.path));
        }
    }
}

impl Drop for OpenLedger {
    fn drop(&mut self) {
        self.save();
    }
}
