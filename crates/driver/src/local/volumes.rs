//! A pair of volumes on this machine: the standing caches, an epoch's, or those of one task.

use std::path::{Path, PathBuf};

use crate::DriverError;
use crate::local::permissions;

/// One pair of volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePair {
    /// The folder that is mounted at `/cache/python`.
    pub python: PathBuf,
    /// The system volume; its folder [`VolumePair::nix`] is mounted at `/nix`.
    pub system: PathBuf,
}

impl VolumePair {
    /// The pair in a folder.
    pub(super) fn below(folder: &Path) -> VolumePair {
        VolumePair {
            python: folder.join("python"),
            system: folder.join("system"),
        }
    }

    /// The folder that is mounted at `/nix`.
    pub fn nix(&self) -> PathBuf {
        self.system.join(".nix-portable/nix")
    }

    /// The folder of what belongs to hybrid-cache rather than to Nix on the system volume.
    pub fn system_state(&self) -> PathBuf {
        self.nix().join("var/hybrid-cache")
    }

    /// Creates both folders if they are missing.
    ///
    /// # Errors
    /// They cannot be created.
    pub(super) fn create(&self) -> Result<(), DriverError> {
        for folder in [self.python.clone(), self.nix()] {
            permissions::create_private(&folder)
                .map_err(DriverError::io(format!("cannot create the cache folder {folder:?}")))?;
        }
        Ok(())
    }
}
