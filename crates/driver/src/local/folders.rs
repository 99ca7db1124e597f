//! The local cache folder and what it holds.
//!
//! ```text
//! <root>/
//!   volumes/python/                      the standing Python volume, mounted at /cache/python
//!   volumes/system/.nix-portable/nix/    the standing system volume's store, mounted at /nix
//!   epochs/<id>/{python,system,.owner}   the same, empty when made, for measuring first runs
//!   bypass/<task>/{python,system,.owner} the same, for one run with `useCache: false`
//!   builds/<task>/<n>/                  what the n-th build for one task has left: a wheel, an answer
//!   network/<n>/{lock,holder}            one network of tasks each; see `local/network`
//!   sandbox/{bin,etc}                    what every sandbox sees of the machine's basic tools and users
//!   trace/trace-<n>.jsonl                what tasks asked for, for `cargo xtask size`; see `trace`
//!   system-source.json                   which package source filled them; kept by the command line
//! ```
//! The folder is for its owner alone. What is mounted where user code runs is open to the user that runs it (`layout`).
//! All of it is on one file system, so that a fresh epoch measures what the standing volumes would cost. A folder below
//! `epochs`, `bypass` or `builds` belongs to the process that created it, and is deleted once that process is gone.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hybrid_cache_model::{Failure, FailureKind};

use crate::local::owned_folders::{self, OwnedFolders};
use crate::local::permissions;
use crate::local::volumes::VolumePair;
use crate::{DriverError, Epoch, ids};

/// Paths below the root.
#[derive(Clone, Debug)]
pub struct Folders {
    root: PathBuf,
    owned: OwnedFolders,
}

impl Folders {
    /// Opens the cache folder, and creates it if it is missing.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(root: &Path) -> Result<Folders, DriverError> {
        let folders = Folders {
            root: root.to_owned(),
            owned: OwnedFolders::default(),
        };
        folders.standing().create()?;
        close(root);
        for parent in ["epochs", "bypass", "builds"] {
            owned_folders::sweep(&root.join(parent));
        }
        Ok(folders)
    }

    /// The standing caches.
    pub fn standing(&self) -> VolumePair {
        VolumePair::below(&self.root.join("volumes"))
    }

    /// The caches of an epoch.
    pub fn volumes(&self, epoch: &Epoch) -> VolumePair {
        match epoch {
            Epoch::Standing => self.standing(),
            Epoch::Fresh(id) => VolumePair::below(&self.epoch_folder(id)),
        }
    }

    fn epoch_folder(&self, id: &str) -> PathBuf {
        self.root.join("epochs").join(id)
    }

    /// Creates the folders of a fresh epoch.
    ///
    /// # Errors
    /// They cannot be created.
    pub fn create_epoch(&self) -> Result<Epoch, DriverError> {
        let id = ids::unique("epoch");
        self.create_owned(&self.epoch_folder(&id))?;
        Ok(Epoch::Fresh(id))
    }

    /// Deletes a fresh epoch. Does nothing for the standing caches.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    pub fn delete_epoch(&self, epoch: &Epoch) -> Result<(), DriverError> {
        match epoch {
            Epoch::Standing => Ok(()),
            Epoch::Fresh(id) => self.delete_owned(&self.epoch_folder(id)),
        }
    }

    /// Creates temporary volumes for one task.
    ///
    /// # Errors
    /// They cannot be created.
    pub fn create_bypass(&self, task: &str) -> Result<VolumePair, DriverError> {
        self.create_owned(&self.bypass_folder(task))
    }

    /// Deletes the temporary volumes of one task.
    ///
    /// # Errors
    /// Something in them cannot be deleted.
    pub fn delete_bypass(&self, task: &str) -> Result<(), DriverError> {
        self.delete_owned(&self.bypass_folder(task))
    }

    /// Creates the folder for the files of a task's builds.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create_builds(&self, task: &str) -> Result<PathBuf, DriverError> {
        let folder = self.root.join("builds").join(task);
        let failed = DriverError::io(format!("cannot create the folder {folder:?}"));
        self.owned.create(&folder).map_err(failed)?;
        Ok(folder)
    }

    /// Deletes the files of a task's builds.
    ///
    /// # Errors
    /// Something in the folder cannot be deleted.
    pub fn delete_builds(&self, task: &str) -> Result<(), DriverError> {
        self.delete_owned(&self.root.join("builds").join(task))
    }

    fn create_owned(&self, folder: &Path) -> Result<VolumePair, DriverError> {
        let failed = DriverError::io(format!("cannot create the cache folder {folder:?}"));
        self.owned.create(folder).map_err(failed)?;
        let pair = VolumePair::below(folder);
        if let Err(error) = pair.create() {
            // Report the first problem.
            let _ = self.owned.delete(folder);
            return Err(error);
        }
        Ok(pair)
    }

    fn delete_owned(&self, folder: &Path) -> Result<(), DriverError> {
        let failed = DriverError::io(format!("cannot delete {folder:?}"));
        self.owned.delete(folder).map_err(failed)
    }

    fn bypass_folder(&self, task: &str) -> PathBuf {
        self.root.join("bypass").join(task)
    }

    /// The folder that every sandbox sees.
    pub fn sandbox(&self) -> PathBuf {
        self.root.join("sandbox")
    }
}

/// Closes the cache folder to other users, because it shows what tasks asked for and printed. Leaves the folder of another
/// user as it is.
fn close(root: &Path) {
    let mode = |folder: &Path| fs::metadata(folder).map(|found| found.permissions().mode() & 0o7777);
    for folder in [root.to_owned(), root.join("volumes")] {
        if mode(&folder).is_ok_and(|mode| mode != permissions::private_mode()) {
            let _ = fs::set_permissions(&folder, Permissions::from_mode(permissions::private_mode()));
        }
    }
}

/// Checks an id that a caller supplies: it becomes a folder's name.
///
/// # Errors
/// The id is not one that every driver accepts.
pub fn check_id(id: &str) -> Result<&str, Failure> {
    if ids::is_valid(id) {
        return Ok(id);
    }
    let message = format!("{id:?} cannot be a task's id");
    Err(Failure::new(FailureKind::Internal, message).hint("use a-z, 0-9 and -, a letter first, at most 50 characters"))
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
        let store = folders.volumes(&epoch).nix().join("store/x");
        fs::create_dir_all(&store).unwrap();
        fs::write(store.join("file"), "").unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o555)).unwrap();
        folders.delete_epoch(&epoch).unwrap();
        folders.delete_epoch(&Epoch::Standing).unwrap();
        assert!(!folders.volumes(&epoch).python.exists());
        assert!(kept.exists());
    }

    #[test]
    fn a_supplied_id_cannot_be_a_path() {
        assert_eq!(check_id("task-abc234").unwrap(), "task-abc234");
        for id in ["", "../x", "a/b", "A", "1a", &"a".repeat(51)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }
}
