//! The environments that a program runs in.

use std::path::{Path, PathBuf};

use crate::python::environment::VENV;

/// The environments a program runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The environment's folder, if the task requests Python packages; it contains the virtual environment.
    pub python: Option<PathBuf>,
    /// Store paths in the order of the search path.
    pub system: Vec<String>,
    /// The closure of `system`; empty in a store that is deleted after this task.
    pub closure: Vec<String>,
}

impl Environment {
    /// The store paths that a program needs: the recorded closure, or the whole of a temporary store.
    pub fn store(&self, volume: &Path) -> Vec<PathBuf> {
        if self.system.is_empty() {
            return Vec::new();
        }
        if self.closure.is_empty() {
            return vec![volume.join("store")];
        }
        self.closure.iter().chain(&self.system).map(PathBuf::from).collect()
    }

    /// The virtual environment, if the task requests Python packages.
    pub fn venv(&self) -> Option<PathBuf> {
        self.python.as_ref().map(|folder| folder.join(VENV))
    }
}
