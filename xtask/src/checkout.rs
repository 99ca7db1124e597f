//! The checkout that this program was built from: where scenarios, images, tools and reports are.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::exit::Expected;

/// The root of the checkout.
#[derive(Clone, Debug)]
pub struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// Finds it from this crate's own place, as cargo told it when it built.
    ///
    /// # Errors
    /// The checkout was moved away after building.
    pub fn find() -> Result<Checkout> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default();
        if !root.join("bench-scenarios").is_dir() {
            let message = format!("{} is no checkout of hybrid-cache any more", root.display());
            return Err(Expected::prerequisite(format!(
                "{message}\nhint: run `cargo xtask` inside the checkout"
            )));
        }
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
