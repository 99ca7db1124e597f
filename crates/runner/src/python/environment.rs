//! The folder of one environment: file names, manifest, obvious damage, and time of last use.

use std::path::Path;
use std::time::{Duration, SystemTime};

use hybrid_cache_model::outcome::PackageHashes;
use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{EnvironmentKey, Failure, Resolved};
use serde::{Deserialize, Serialize};

use super::record::replace;
use crate::store::IoContext;
use crate::store::stage::LEASE;

/// Folder of the virtual environment, beside hybrid-cache's own files.
pub const VENV: &str = "venv";
/// Name of the file that lists an environment's packages.
pub const LOCK_FILE: &str = "lock.txt";
/// Name of the file that marks an environment as damaged while a task runs from it.
pub const DAMAGED_FILE: &str = "damaged";
/// Name of the file that describes an environment.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Version of the manifest's fields.
pub const MANIFEST_SCHEMA: u32 = 2;
/// A time of use younger than this is not updated.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// The description of an environment.
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
    /// Creation time, in seconds since 1970.
    pub created_s: u64,
    /// Allocated bytes of inodes that nothing else on the volume shares.
    pub own_bytes: u64,
    /// Inodes that nothing else on the volume shares.
    pub own_inodes: u64,
    /// Directory entries.
    pub entries: u64,
    /// The folders of bytecode that it links to, relative to the volume, sorted.
    #[serde(default)]
    pub bytecode: Vec<String>,
    /// Hash of this and of the list of packages: see [`Manifest::sealed`].
    #[serde(default)]
    pub seal: String,
}

impl Manifest {
    /// The value of `seal` for an unmodified manifest with an unmodified list of packages.
    pub fn sealed(&self, lock: &str) -> String {
        let open = Manifest {
            seal: String::new(),
            ..self.clone()
        };
        // Serialising plain data cannot fail; if it did, no seal would match.
        let text = serde_json::to_string(&open).unwrap_or_default();
        blake3::hash(format!("{text}\n{lock}").as_bytes()).to_hex().to_string()
    }
}

/// The obvious damage of an environment; `None` if it can be used.
///
/// Checks five names only. Changed bytes are found by `verify`, which then marks the environment.
pub fn damage(environment: &Path) -> Option<String> {
    let venv = environment.join(VENV);
    // Follow the link, so that a missing interpreter is noticed too.
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

/// The packages of an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// `name==version`, sorted.
    pub pins: Vec<String>,
    /// The hashes of their files, as far as they are known.
    pub hashes: PackageHashes,
}

impl Packages {
    /// What an outcome says of them.
    pub fn resolved(self, interpreter: &Interpreter) -> Resolved {
        Resolved {
            python_version: (!self.pins.is_empty()).then(|| interpreter.version.clone()),
            python: self.pins,
            python_hashes: self.hashes,
            system: Vec::new(),
        }
    }

    /// One package a line: its pin and its hashes.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for pin in &self.pins {
            text.push_str(pin);
            for hash in self.hashes.get(pin).into_iter().flatten() {
                text.push_str(" --hash=");
                text.push_str(hash);
            }
            text.push('\n');
        }
        text
    }

    /// Reads such lines. Those of an older version have no hashes.
    pub fn parse(text: &str) -> Packages {
        let mut packages = Packages::default();
        for line in text.lines() {
            // A pin may have spaces: `name @ address`.
            let mut parts = line.trim().split(" --hash=");
            let Some(pin) = parts.next().filter(|pin| !pin.is_empty()) else {
                continue;
            };
            let hashes: Vec<String> = parts.map(str::to_owned).collect();
            if !hashes.is_empty() {
                packages.hashes.insert(pin.to_owned(), hashes);
            }
            packages.pins.push(pin.to_owned());
        }
        packages
    }
}

/// Writes the list of packages beside the virtual environment.
///
/// # Errors
/// The volume cannot be written.
pub fn write_lock(environment: &Path, packages: &Packages) -> Result<(), Failure> {
    replace(&environment.join(LOCK_FILE), packages.to_text().as_bytes())
}

/// Records that the environment at `path` is in use now, for eviction by last use.
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
