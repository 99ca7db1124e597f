//! The checkout that the work belongs to: where scenarios, images, tools and reports are.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The root of a checkout.
#[derive(Clone, Debug)]
pub struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// The checkout in a folder.
    ///
    /// # Errors
    /// The folder is not one, or not any more: it was moved away.
    pub fn open(root: &Path) -> Result<Checkout> {
        if !root.join("bench-scenarios").is_dir() {
            let message = format!("{} is not a checkout of hybrid-cache any more", root.display());
            return Err(Error::prerequisite(format!(
                "{message}\nhint: run `cargo xtask` inside the checkout"
            )));
        }
        let root = root.to_owned();
        Ok(Checkout { root })
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }
}
