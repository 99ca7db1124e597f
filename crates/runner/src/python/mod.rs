//! The Python volume: whole environments built by uv, found by what a task requests.
//!
//! ```text
//! <root>/                        mounted at /cache/python; one file system, so that hardlinks work
//!   FORMAT                       `hybrid-cache python 2`
//!   uv/                          UV_CACHE_DIR: uv's own downloads and unpacked wheels, of public indexes only
//!   bytecode/<abi>/<key>/        bytecode without paths, a folder for each set of sources; envs link to it
//!   locks/<tenant>-<request-key> build lock: one preparation of one request at a time
//!   locks/<tenant>-<request-key>.staged   its verified staging folder, for waiting preparations, until it is published
//!   locks/<tenant>-<request-key>.failed   the last failure of a build, for preparations that waited for it
//!   locks/bytecode               lock on the pools' content (see `pool`)
//!   trash/                       being deleted
//!   ledger                       parts and disk usage of environments (see `ledger`)
//!   tenants/<tenant>/            one tenant's files
//!     FORMAT                     the same line
//!     requests/<request-key>     link to ../envs/<environment-key>; its own mtime says when it was resolved
//!     envs/<environment-key>/
//!       venv/                    a relocatable venv whose files are hard links into uv/
//!       manifest.json            description, disk usage, and the bytecode folders it links to
//!       lock.txt                 one `name==version` a line, sorted, with the hash of its file if it is known
//!       content                  hash, mode and path of each file in venv/ (see `store::content`)
//!       damaged                  set by a verification while a task runs from it: lookups miss it
//!       .lease                   shared lock: a task runs from here; mtime: last known use
//!     staging/<name>/            one running preparation (see `store::stage`)
//!     healed                     one line for each damaged environment that a preparation rebuilt
//!     uv/, bytecode/             as above, for packages of the tenant's private index and environments with built wheels
//!     uv/built-wheels/<key>/<sha256>/   a wheel that was built from a source distribution (see `prepare::builds`)
//! ```
//!
//! A task has only `tenants/<tenant>` and `bytecode` mounted, read-only. It cannot see other tenants' preparations or
//! the locks that preparations wait for.
//!
//! There are two keys. The request key hashes what a task requests. The environment key hashes the result: the
//! interpreter, and the bytes of every file on disk except bytecode. It contains no claim that a package makes about
//! itself. `docs/cache-keys.md` lists the content of both.
//!
//! The mount must be read-only: files are hard-linked with uv's cache and with other environments, so one write would
//! change them all. File modes are not changed.

pub mod asked;
pub mod build;
pub mod bytecode;
pub mod claims;
pub mod compile;
pub mod content;
pub mod environment;
pub mod evict;
pub mod hashes;
pub mod heal;
mod layout;
pub mod lookup;
pub mod no_wheel;
pub mod pool;
pub mod publish;
pub mod record;
pub mod scripts;
pub mod setuptools;
pub mod uv;
pub mod uv_cache;
pub mod uv_errors;
pub mod venv;

use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::{EnvironmentContext, IndexScope};
use hybrid_cache_model::{Failure, Protection, RequestKey, Tenant};

use crate::store::files::ensure_folder;
use crate::store::format::{self, FormatAccess};
use crate::store::{IoContext, folder, tenants};

pub use asked::may_apply;
pub use lookup::{Leased, Lookup};

/// Name of this cache in its `FORMAT` files.
pub const CACHE: &str = "python";

/// One tenant's part of the Python volume, with what all tenants share.
#[derive(Clone, Debug)]
pub struct PythonVolume {
    root: PathBuf,
    tenant: Tenant,
    scope: IndexScope,
}

impl PythonVolume {
    /// Opens the volume for lookups. For an unknown tenant everything misses.
    ///
    /// # Errors
    /// It has another layout, or cannot be read.
    pub fn open_read(root: &Path, tenant: &Tenant) -> Result<PythonVolume, Failure> {
        let volume = PythonVolume::at(root, tenant);
        // A task sees only its tenant's part. A process that sees the whole volume must not mistake an old layout for
        // an empty volume.
        if format::check(&volume.own(), CACHE)? == format::Opened::Empty {
            format::check(root, CACHE)?;
            std::fs::metadata(root).io_context("look at", root)?;
        }
        Ok(volume)
    }

    /// Opens the volume for preparing. Creates the layout in an empty folder, and the folder of a new tenant.
    ///
    /// # Errors
    /// It has another layout, or cannot be written.
    pub fn open_write(root: &Path, tenant: &Tenant) -> Result<PythonVolume, Failure> {
        format::open(root, CACHE, FormatAccess::Write)?;
        let volume = PythonVolume::at(root, tenant);
        // Create the trash now: on a full volume it could not be created later.
        for folder in [volume.own(), volume.bytecode(), volume.trash()] {
            ensure_folder(&folder)?;
        }
        format::open(&volume.own(), CACHE, FormatAccess::Write)?;
        Ok(volume)
    }

    /// The parts of all tenants, sorted by name; none if the folder is empty.
    ///
    /// # Errors
    /// The volume has another layout, or cannot be read.
    pub fn all(root: &Path) -> Result<Vec<PythonVolume>, Failure> {
        format::open(root, CACHE, FormatAccess::Read)?;
        let tenants = tenants::list(root)?;
        Ok(tenants.iter().map(|tenant| PythonVolume::at(root, tenant)).collect())
    }

    /// Opens a context's volume for lookups.
    ///
    /// # Errors
    /// Those of [`PythonVolume::open_read`].
    pub fn read(context: &EnvironmentContext) -> Result<PythonVolume, Failure> {
        let volume = PythonVolume::open_read(Path::new(&context.volumes.python), &context.tenant)?;
        Ok(volume.with_scope(context.index_scope))
    }

    /// Opens a context's volume for preparing.
    ///
    /// # Errors
    /// Those of [`PythonVolume::open_write`].
    pub fn write(context: &EnvironmentContext) -> Result<PythonVolume, Failure> {
        let volume = PythonVolume::open_write(Path::new(&context.volumes.python), &context.tenant)?;
        Ok(volume.with_scope(context.index_scope))
    }

    fn at(root: &Path, tenant: &Tenant) -> PythonVolume {
        PythonVolume {
            root: root.to_owned(),
            tenant: tenant.clone(),
            scope: IndexScope::Public,
        }
    }

    /// The same volume with the downloads and bytecode of an index of this scope.
    #[must_use]
    pub fn with_scope(mut self, scope: IndexScope) -> PythonVolume {
        self.scope = if Protection::PrivateIndex.is_on() {
            scope
        } else {
            IndexScope::Public
        };
        self
    }

    /// The root of the whole volume.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The tenant's folder.
    pub fn own(&self) -> PathBuf {
        self.root.join(self.tenant.folder())
    }

    /// The folder for content from the index: the shared one, or the tenant's own.
    fn shared(&self) -> PathBuf {
        match self.scope {
            IndexScope::Public => self.root.clone(),
            IndexScope::Private => self.own(),
        }
    }

    /// uv's cache.
    pub fn uv_cache(&self) -> PathBuf {
        self.shared().join("uv")
    }

    /// The pool of bytecode.
    pub fn bytecode(&self) -> PathBuf {
        self.shared().join("bytecode")
    }

    /// Links from requests to environments.
    pub fn requests(&self) -> PathBuf {
        self.own().join("requests")
    }

    /// Published environments.
    pub fn environments(&self) -> PathBuf {
        self.own().join("envs")
    }

    /// Locks of all tenants.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// The build lock of one request.
    pub fn build_lock(&self, key: &RequestKey) -> PathBuf {
        self.locks().join(format!("{}-{key}", self.tenant))
    }

    /// The file in which the builder of a request's environment names the staging folder that tasks may already run
    /// from.
    pub fn staged_note(&self, key: &RequestKey) -> PathBuf {
        self.locks().join(format!("{}-{key}.staged", self.tenant))
    }

    /// Running preparations.
    pub fn staging(&self) -> PathBuf {
        self.own().join("staging")
    }

    /// Files of all tenants that are being deleted.
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// The list of rebuilt environments.
    pub fn healed(&self) -> PathBuf {
        self.own().join("healed")
    }

    /// `path` relative to the volume, as the protocol names it.
    pub fn relative(&self, path: &Path) -> String {
        folder::relative(&self.root, path)
    }
}
