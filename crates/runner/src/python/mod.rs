//! The Python volume: whole environments made by uv, found again by what was asked for.
//!
//! ```text
//! <root>/                      mounted at /cache/python; one file system, so that hardlinks work
//!   FORMAT                     `hybrid-cache python 1`
//!   uv/                        UV_CACHE_DIR: uv's own downloads and unpacked wheels
//!   requests/<request-key>     link to ../envs/<environment-key>; its own mtime says when it was resolved
//!   envs/<environment-key>/    a relocatable venv whose files are hardlinks into uv/, and beside them
//!     manifest.json            what it is and what it takes
//!     lock.txt                 one `name==version digest` a line, sorted
//!     .lease                   shared lock: a task runs from here; mtime: last known use (see `maintain::touch`)
//!   bytecode/<abi>/<key>/      byte-code without paths, a folder for each set of sources; envs link to it
//!   locks/<request-key>        build lock: one preparation of one request at a time
//!   locks/bytecode             on the pool's content (see `pool`)
//!   staging/<name>/            one preparation at work (see `store::stage`)
//!   trash/                     on its way out
//! ```
//!
//! Two keys: the request key hashes what was asked for, the environment key what came of it. The environment key is
//! made of `name==version` and a digest of each distribution's normalised `RECORD`, that is, of the content that was
//! installed, not of the hashes of the chosen wheels: this names the content exactly, also where a package was built
//! from source, and spares a second uv process that would only print the resolution.
//!
//! A task that uses an environment has the volume mounted read-only: files are shared by hardlinks with uv's cache and
//! with every other environment, so one write would reach them all. Their modes are left as they are.

pub mod build;
pub mod bytecode;
pub mod compile;
pub mod explain;
pub mod lookup;
pub mod pool;
pub mod publish;
pub mod record;
pub mod uv;
pub mod venv;

use std::path::{Path, PathBuf};

use hybrid_cache_model::Failure;

use crate::store::format::{self, Access};

pub use lookup::{Leased, Lookup};

/// Name of this cache in its `FORMAT` file.
pub const CACHE: &str = "python";

/// The Python volume at one place.
#[derive(Clone, Debug)]
pub struct PythonVolume {
    root: PathBuf,
}

impl PythonVolume {
    /// Opens the volume for lookups; an empty folder is a volume where everything misses.
    ///
    /// # Errors
    /// It has another layout, or cannot be read.
    pub fn open_read(root: &Path) -> Result<PythonVolume, Failure> {
        format::open(root, CACHE, Access::Read)?;
        Ok(PythonVolume { root: root.to_owned() })
    }

    /// Opens the volume for preparing; an empty folder gets its layout.
    ///
    /// # Errors
    /// It has another layout, or cannot be written.
    pub fn open_write(root: &Path) -> Result<PythonVolume, Failure> {
        format::open(root, CACHE, Access::Write)?;
        Ok(PythonVolume { root: root.to_owned() })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// uv's cache.
    pub fn uv_cache(&self) -> PathBuf {
        self.root.join("uv")
    }

    /// Links from requests to environments.
    pub fn requests(&self) -> PathBuf {
        self.root.join("requests")
    }

    /// Published environments.
    pub fn environments(&self) -> PathBuf {
        self.root.join("envs")
    }

    /// The pool of byte-code.
    pub fn bytecode(&self) -> PathBuf {
        self.root.join("bytecode")
    }

    /// Build locks.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Preparations at work.
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// What is being deleted.
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// `path` as it is called in the protocol: relative to the volume.
    pub fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned()
    }
}
