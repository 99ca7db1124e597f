//! The folder of one environment: the names in it, its manifest, its obvious damage and its time of use.

use std::path::Path;
use std::time::{Duration, SystemTime};

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{EnvironmentKey, Failure};
use serde::{Deserialize, Serialize};

use super::record::replace;
use crate::store::IoContext;
use crate::store::stage::LEASE;

/// Folder of an environment's files, beside what is ours: the virtual environment itself.
pub const VENV: &str = "venv";
/// Name of the file that lists an environment's packages.
pub const LOCK_FILE: &str = "lock.txt";
/// Name of the file that marks an environment as damaged while a task runs from it.
pub const DAMAGED_FILE: &str = "damaged";
/// Name of the file that describes an environment.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Version of its content.
pub const MANIFEST_SCHEMA: u32 = 2;
/// A lease whose time of use is younger than this is not stamped again.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// What an environment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's content.
    pub schema: u32,
    /// The environment's key.
    pub key: EnvironmentKey,
    /// `name==version`, sorted.
    pub pins: Vec<String>,
    /// The interpreter it was made for.
    pub interpreter: Interpreter,
    /// When, in seconds since 1970.
    pub created_s: u64,
    /// Allocated bytes of inodes that nothing else on the volume shares.
    pub own_bytes: u64,
    /// Inodes that nothing else on the volume shares.
    pub own_inodes: u64,
    /// Directory entries.
    pub entries: u64,
    /// The folders of byte-code that it links to, relative to the volume, sorted.
    #[serde(default)]
    pub bytecode: Vec<String>,
    /// Hash of this and of the list of packages: see [`Manifest::sealed`].
    #[serde(default)]
    pub seal: String,
}

impl Manifest {
    /// What `seal` says of a manifest that nobody has changed, beside a list of packages that nobody has changed.
    pub fn sealed(&self, lock: &str) -> String {
        let open = Manifest {
            seal: String::new(),
            ..self.clone()
        };
        // Plain data: it cannot fail, and where it did no seal would fit.
        let text = serde_json::to_string(&open).unwrap_or_default();
        blake3::hash(format!("{text}\n{lock}").as_bytes()).to_hex().to_string()
    }
}

/// What an environment obviously lacks; `None` where it can be used.
///
/// Four looks at names. Bytes that changed are for `verify` to find, which marks the environment then.
pub fn damage(environment: &Path) -> Option<String> {
    let venv = environment.join(VENV);
    // The link to the interpreter is followed: it leads nowhere where the folder or the interpreter is gone.
    if !venv.join("bin/python").exists() {
        let lacks = if venv.is_dir() { "its interpreter" } else { VENV };
        return Some(format!("{lacks} is gone"));
    }
    for name in [LOCK_FILE, MANIFEST_FILE] {
        if !environment.join(name).exists() {
            return Some(format!("{name} is missing"));
        }
    }
    let marked = environment.join(DAMAGED_FILE).exists();
    marked.then(|| "a verification marked it".to_owned())
}

/// Writes the list of packages beside the virtual environment.
///
/// # Errors
/// The volume cannot be written.
pub fn write_lock(environment: &Path, pins: &[String]) -> Result<(), Failure> {
    let lock: String = pins.iter().map(|pin| format!("{pin}\n")).collect();
    replace(&environment.join(LOCK_FILE), lock.as_bytes())
}

/// Notes that the environment at `path` is in use now: eviction takes the least recently used.
///
/// # Errors
/// The volume cannot be written.
pub fn touch(path: &Path) -> Result<(), Failure> {
    let path = path.join(LEASE);
    let lease = std::fs::File::open(&path).io_context("open the lease", &path)?;
    let used_at = lease
        .metadata()
        .and_then(|found| found.modified())
        .io_context("look at", &path)?;
    if used_at.elapsed().is_ok_and(|age| age < TOUCH_EVERY) {
        return Ok(());
    }
    lease
        .set_modified(SystemTime::now())
        .io_context("stamp the lease", &path)
}
