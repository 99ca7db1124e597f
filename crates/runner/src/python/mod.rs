//! The Python volume: whole environments made by uv, found again by what was asked for.
//!
//! ```text
//! <root>/                        mounted at /cache/python; one file system, so that hardlinks work
//!   FORMAT                       `hybrid-cache python 2`
//!   uv/                          UV_CACHE_DIR: uv's own downloads and unpacked wheels, of public indexes only
//!   bytecode/<abi>/<key>/        byte-code without paths, a folder for each set of sources; envs link to it
//!   locks/<tenant>-<request-key> build lock: one preparation of one request at a time
//!   locks/<tenant>-<request-key>.staged   its verified staging folder, for those who wait, until it is published
//!   locks/<tenant>-<request-key>.failed   the last failure of a build, for those who waited for it
//!   locks/bytecode               on the pools' content (see `pool`)
//!   trash/                       on its way out
//!   ledger                       what environments are made of and take (see `ledger`)
//!   tenants/<tenant>/            all that is one tenant's
//!     FORMAT                     the same line
//!     requests/<request-key>     link to ../envs/<environment-key>; its own mtime says when it was resolved
//!     envs/<environment-key>/
//!       venv/                    a relocatable venv whose files are hardlinks into uv/: all that packages bring
//!       manifest.json            what it is and what it takes, and which byte-code it links to
//!       lock.txt                 one `name==version` a line, sorted
//!       content                  hash, mode and path of each file in venv/ (see `store::content`)
//!       damaged                  there if a verification found damage while a task ran from it: lookups miss it
//!       .lease                   shared lock: a task runs from here; mtime: last known use (see `maintain::touch`)
//!     staging/<name>/            one preparation at work (see `store::stage`)
//!     healed                     one line for each damaged environment that a preparation built again
//!     uv/, bytecode/             the same as above, for packages of the tenant's private index
//! ```
//!
//! A task has `tenants/<tenant>` and `bytecode` mounted, read-only and nothing else: what others prepare, and every lock
//! that a preparation waits for, is out of its sight.
//!
//! Two keys: the request key hashes what was asked for, the environment key what came of it: the interpreter, and the
//! bytes of every file as they are on disk, byte-code left out. Nothing in it is a package's claim about itself.
//! `docs/cache-keys.md` lists what is in which key.
//!
//! A task that uses an environment has the volume mounted read-only: files are shared by hardlinks with uv's cache and
//! with every other environment, so one write would reach them all. Their modes are left as they are.

pub mod asked;
pub mod build;
pub mod bytecode;
pub mod claims;
pub mod compile;
pub mod content;
pub mod environment;
pub mod evict;
pub mod heal;
mod layout;
pub mod lookup;
pub mod pool;
pub mod publish;
pub mod record;
pub mod scripts;
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

pub use lookup::{Leased, Lookup};

/// Name of this cache in its `FORMAT` files.
pub const CACHE: &str = "python";

/// One tenant's part of the Python volume at one place, with what all tenants share.
#[derive(Clone, Debug)]
pub struct PythonVolume {
    root: PathBuf,
    tenant: Tenant,
    scope: IndexScope,
}

impl PythonVolume {
    /// Opens the volume for lookups; a tenant that is not there has a volume where everything misses.
    ///
    /// # Errors
    /// It has another layout, or cannot be read.
    pub fn open_read(root: &Path, tenant: &Tenant) -> Result<PythonVolume, Failure> {
        let volume = PythonVolume::at(root, tenant);
        // A task sees its tenant's part alone; whoever sees the whole must not take an old volume for an empty one.
        if format::check(&volume.own(), CACHE)? == format::Opened::Empty {
            format::check(root, CACHE)?;
            std::fs::metadata(root).io_context("look at", root)?;
        }
        Ok(volume)
    }

    /// Opens the volume for preparing; an empty folder gets its layout, a new tenant its folder.
    ///
    /// # Errors
    /// It has another layout, or cannot be written.
    pub fn open_write(root: &Path, tenant: &Tenant) -> Result<PythonVolume, Failure> {
        format::open(root, CACHE, FormatAccess::Write)?;
        let volume = PythonVolume::at(root, tenant);
        // Where no room is left for a folder, something can still be moved into the trash.
        for folder in [volume.own(), volume.bytecode(), volume.trash()] {
            ensure_folder(&folder)?;
        }
        format::open(&volume.own(), CACHE, FormatAccess::Write)?;
        Ok(volume)
    }

    /// The parts of all tenants, sorted by name; none where the folder holds nothing yet.
    ///
    /// # Errors
    /// The volume has another layout, or cannot be read.
    pub fn all(root: &Path) -> Result<Vec<PythonVolume>, Failure> {
        format::open(root, CACHE, FormatAccess::Read)?;
        let tenants = tenants::list(root)?;
        Ok(tenants.iter().map(|tenant| PythonVolume::at(root, tenant)).collect())
    }

    /// Opens the volume of a place for lookups.
    ///
    /// # Errors
    /// Those of [`PythonVolume::open_read`].
    pub fn read(context: &EnvironmentContext) -> Result<PythonVolume, Failure> {
        let volume = PythonVolume::open_read(Path::new(&context.volumes.python), &context.tenant)?;
        Ok(volume.with_scope(context.index_scope))
    }

    /// Opens the volume of a place for preparing.
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

    /// The same with the downloads and byte-code of an index of this kind.
    #[must_use]
    pub fn with_scope(mut self, scope: IndexScope) -> PythonVolume {
        self.scope = if Protection::PrivateIndex.is_on() {
            scope
        } else {
            IndexScope::Public
        };
        self
    }

    /// Where the whole volume is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whose part this is.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The folder of all that is this tenant's.
    pub fn own(&self) -> PathBuf {
        self.root.join(self.tenant.folder())
    }

    /// The folder with what comes from the index: everybody's, or the tenant's own.
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

    /// The pool of byte-code.
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

    /// Where the maker of a request's environment says from which staging folder tasks may run already.
    pub fn staged_note(&self, key: &RequestKey) -> PathBuf {
        self.locks().join(format!("{}-{key}.staged", self.tenant))
    }

    /// Preparations at work.
    pub fn staging(&self) -> PathBuf {
        self.own().join("staging")
    }

    /// What is being deleted, whosever it was.
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// Where heals are noted.
    pub fn healed(&self) -> PathBuf {
        self.own().join("healed")
    }

    /// `path` as it is called in the protocol: relative to the volume.
    pub fn relative(&self, path: &Path) -> String {
        folder::relative(&self.root, path)
    }
}
