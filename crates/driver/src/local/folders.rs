//! The local cache folder and what is in it.
//!
//! ```text
//! <root>/
//!   volumes/python/                      the standing Python volume, mounted at /cache/python
//!   volumes/system/.nix-portable/nix/    the standing system volume's store, mounted at /nix
//!   epochs/<id>/{python,system,.owner}   the same, empty when made, for measuring first runs
//!   bypass/<task>/{python,system,.owner} the same, for one run with `useCache: false`
//!   network/<n>/{lock,holder}            one task network each; see `local/network`
//!   sandbox/{bin,etc}                    what every sandbox sees of the machine's basic tools and users
//!   trace/trace-<n>.jsonl                what tasks asked for, for `cargo xtask size`; see `trace`
//!   system-source.json                   which package source filled them; kept by the command line
//! ```
//! The folder is for its owner alone; what is mounted where user code runs is open to the user that runs it (`layout`).
//! All of it is on one file system, so that a fresh epoch measures what the standing volumes would cost. What is below
//! `epochs` and `bypass` belongs to the process that made it and is deleted once that process is gone.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use hybrid_cache_model::{Failure, FailureKind};

use super::claims::{self, Claims};
use super::layout;
use crate::{DriverError, Epoch};

/// Longest id that a caller may supply; a cluster makes names of it, which bounds it.
const MAX_ID_BYTES: usize = 50;

/// Paths below the root.
#[derive(Clone, Debug)]
pub struct Folders {
    root: PathBuf,
    claims: Claims,
}

/// One pair of volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePair {
    /// The folder that is mounted at `/cache/python`.
    pub python: PathBuf,
    /// The system volume; [`VolumePair::nix`] of it is mounted at `/nix`.
    pub system: PathBuf,
}

impl VolumePair {
    fn below(folder: &Path) -> VolumePair {
        VolumePair {
            python: folder.join("python"),
            system: folder.join("system"),
        }
    }

    /// The folder that is mounted at `/nix`.
    pub fn nix(&self) -> PathBuf {
        self.system.join(".nix-portable/nix")
    }

    /// What is ours rather than Nix's on the system volume.
    pub fn system_state(&self) -> PathBuf {
        self.nix().join("var/hybrid-cache")
    }

    /// Makes both folders, empty where they are missing.
    ///
    /// # Errors
    /// They cannot be made.
    pub(super) fn create(&self) -> Result<(), DriverError> {
        for folder in [self.python.clone(), self.nix()] {
            layout::private_dirs(&folder)
                .map_err(DriverError::io(format!("cannot create the cache folder {folder:?}")))?;
        }
        Ok(())
    }
}

impl Folders {
    /// Makes the folder ready for use.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(root: &Path) -> Result<Folders, DriverError> {
        let folders = Folders {
            root: root.to_owned(),
            claims: Claims::default(),
        };
        folders.standing().create()?;
        close(root);
        for parent in ["epochs", "bypass"] {
            claims::sweep(&root.join(parent));
        }
        Ok(folders)
    }

    /// The caches that everybody uses.
    pub fn standing(&self) -> VolumePair {
        VolumePair::below(&self.root.join("volumes"))
    }

    /// The caches of an epoch.
    pub fn of(&self, epoch: &Epoch) -> VolumePair {
        match epoch {
            Epoch::Standing => self.standing(),
            Epoch::Fresh(id) => VolumePair::below(&self.epoch_folder(id)),
        }
    }

    fn epoch_folder(&self, id: &str) -> PathBuf {
        self.root.join("epochs").join(id)
    }

    /// Makes the folders of a fresh epoch.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn create_epoch(&self) -> Result<Epoch, DriverError> {
        let id = unique_id("epoch");
        self.create_claimed(&self.epoch_folder(&id))?;
        Ok(Epoch::Fresh(id))
    }

    /// Deletes a fresh epoch; the standing caches are left alone.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    pub fn delete_epoch(&self, epoch: &Epoch) -> Result<(), DriverError> {
        match epoch {
            Epoch::Standing => Ok(()),
            Epoch::Fresh(id) => self.delete_claimed(&self.epoch_folder(id)),
        }
    }

    /// Makes throw-away volumes for one task.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn create_bypass(&self, task: &str) -> Result<VolumePair, DriverError> {
        self.create_claimed(&self.bypass_folder(task))
    }

    /// Deletes the throw-away volumes of one task.
    ///
    /// # Errors
    /// Something in them cannot be deleted.
    pub fn delete_bypass(&self, task: &str) -> Result<(), DriverError> {
        self.delete_claimed(&self.bypass_folder(task))
    }

    fn create_claimed(&self, folder: &Path) -> Result<VolumePair, DriverError> {
        let failed = DriverError::io(format!("cannot create the cache folder {folder:?}"));
        self.claims.create(folder).map_err(failed)?;
        let pair = VolumePair::below(folder);
        if let Err(error) = pair.create() {
            // The first problem is the one to tell.
            let _ = self.claims.delete(folder);
            return Err(error);
        }
        Ok(pair)
    }

    fn delete_claimed(&self, folder: &Path) -> Result<(), DriverError> {
        let failed = DriverError::io(format!("cannot delete {folder:?}"));
        self.claims.delete(folder).map_err(failed)
    }

    fn bypass_folder(&self, task: &str) -> PathBuf {
        self.root.join("bypass").join(task)
    }

    /// The folder of what every sandbox sees.
    pub fn sandbox(&self) -> PathBuf {
        self.root.join("sandbox")
    }
}

/// Closes the cache folder to everybody else: what tasks asked for and printed is nobody's business. One that belongs to
/// somebody else is left as it is.
fn close(root: &Path) {
    let mode = |folder: &Path| fs::metadata(folder).map(|found| found.permissions().mode() & 0o7777);
    for folder in [root.to_owned(), root.join("volumes")] {
        if mode(&folder).is_ok_and(|mode| mode != layout::private_mode()) {
            let _ = fs::set_permissions(&folder, Permissions::from_mode(layout::private_mode()));
        }
    }
}

/// Checks an id that a caller supplies: it becomes a folder's name.
///
/// # Errors
/// It is none that every driver takes.
pub fn check_id(id: &str) -> Result<&str, Failure> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id.starts_with(|c: char| c.is_ascii_lowercase()) && id.len() <= MAX_ID_BYTES && id.chars().all(inner) {
        return Ok(id);
    }
    let message = format!("{id:?} cannot be a task's id");
    Err(Failure::new(FailureKind::Internal, message).hint("use a-z, 0-9 and -, a letter first, at most 50 characters"))
}

/// An identifier that no other process and no other call of this one makes.
pub fn unique_id(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_nanos() & 0xffff_ffff_ffff);
    format!(
        "{prefix}-{nanos:012x}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_deleted_with_its_read_only_folders_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::open(root.path()).unwrap();
        let kept = folders.standing().python.join("kept");
        fs::write(&kept, "").unwrap();
        let epoch = folders.create_epoch().unwrap();
        let store = folders.of(&epoch).nix().join("store/x");
        fs::create_dir_all(&store).unwrap();
        fs::write(store.join("file"), "").unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o555)).unwrap();
        folders.delete_epoch(&epoch).unwrap();
        folders.delete_epoch(&Epoch::Standing).unwrap();
        assert!(!folders.of(&epoch).python.exists());
        assert!(kept.exists());
    }

    #[test]
    fn identifiers_do_not_repeat() {
        assert_ne!(unique_id("a"), unique_id("a"));
    }

    #[test]
    fn a_supplied_id_is_no_path() {
        assert_eq!(check_id("task-abc234").unwrap(), "task-abc234");
        for id in ["", "../x", "a/b", "A", "1a", &"a".repeat(51)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }
}
