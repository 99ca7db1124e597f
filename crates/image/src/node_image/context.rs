//! What all parts of a node image's build share: pins, files, the build folder, and who watches.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hybrid_cache_tools::{Progress, Result, failed};
use serde::Serialize;

use super::archive::Stamp;
use super::build_dir::BuildDir;
use super::identity::{self, Files, Identity};
use super::pins::{Component, Pins};

/// One part that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// What it is.
    pub part: String,
    /// How long it took.
    pub seconds: f64,
}

/// Everything that the parts of a build look at.
pub struct BuildContext<'a> {
    /// Versions and packages.
    pub pins: Pins,
    /// The project's own files for the image, by path.
    pub files: Files,
    /// The folder that they lie in.
    pub files_folder: PathBuf,
    /// Go's name of this machine's architecture.
    pub architecture: &'static str,
    /// Where everything is made.
    pub dir: BuildDir,
    /// Who watches.
    pub progress: &'a dyn Progress,
    made: RefCell<Vec<Made>>,
}

impl<'a> BuildContext<'a> {
    /// For the files of a folder, in a build folder that this process holds.
    ///
    /// # Errors
    /// The files cannot be read, or there is no node image for this architecture.
    pub fn new(files_folder: &Path, dir: BuildDir, progress: &'a dyn Progress) -> Result<BuildContext<'a>> {
        Ok(BuildContext {
            pins: Pins::read(files_folder)?,
            files: identity::read_files(files_folder)?,
            files_folder: files_folder.to_owned(),
            architecture: architecture()?,
            dir,
            progress,
            made: RefCell::default(),
        })
    }

    /// Shows that a part is being made while `make` runs, and how long that took.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn making<T>(&self, part: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        self.progress.step(part);
        let made = make()?;
        let seconds = started.elapsed().as_secs_f64();
        self.progress.line(&format!("{part}: {seconds:.1} s"));
        let part = part.to_owned();
        self.made.borrow_mut().push(Made { part, seconds });
        Ok(made)
    }

    /// What was made so far.
    pub fn made(&self) -> Vec<Made> {
        self.made.borrow().clone()
    }

    /// What a component is made from, as a digest.
    ///
    /// # Errors
    /// A file that it is made with is missing.
    pub fn component_identity(&self, component: &Component) -> Result<Identity> {
        identity::component(&self.pins, component, &self.files, self.architecture)
    }

    /// What does not differ between the images of this build.
    pub fn stamp(&self) -> Stamp<'static> {
        Stamp {
            architecture: self.architecture,
            made_at_s: self.pins.made_at_s,
        }
    }
}

/// Go's, Debian's and Docker's name of this machine's architecture.
///
/// # Errors
/// No node image can be made for it.
pub fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(failed!("no node image can be made for {other}")),
    }
}
