//! An index entry: a set of packages and the store paths it was built to.

use std::path::Path;

use std::collections::BTreeMap;

use hybrid_cache_model::{Failure, FailureKind, Protection, SystemKey};
use serde::{Deserialize, Serialize};

use crate::store::IoContext;

/// Version of an entry's own fields.
const SCHEMA: u32 = 2;
/// An entry lists a few thousand paths at most; a larger file is ignored.
const MAX_ENTRY_BYTES: u64 = 4 << 20;

/// The store paths of a set of packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Version of these fields.
    pub schema: u32,
    /// The key again, to detect a file with a wrong name.
    pub key: SystemKey,
    /// Identity of the package source.
    pub source: String,
    /// The packages' attribute names, sorted.
    pub packages: Vec<String>,
    /// One store path for each package, in the same order.
    pub paths: Vec<String>,
    /// Creation time, in seconds since 1970.
    pub created_s: u64,
    /// The closure of `paths`, sorted.
    #[serde(default)]
    pub closure: Vec<String>,
    /// The content hash of each path of the closure: see [`super::path_hashes`]. Added after the entry is created.
    #[serde(default)]
    pub content: BTreeMap<String, String>,
    /// True if a verification found damage and could not remove the entry. A lookup misses it.
    #[serde(default)]
    pub damaged: bool,
}

impl IndexEntry {
    /// A new entry, created now.
    pub fn new(key: &SystemKey, source: &str, packages: Vec<String>, paths: Vec<String>) -> IndexEntry {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let created_s = u64::try_from(now.tv_sec).unwrap_or_default();
        IndexEntry {
            schema: SCHEMA,
            key: key.clone(),
            source: source.to_owned(),
            packages,
            paths,
            created_s,
            closure: Vec::new(),
            content: BTreeMap::new(),
            damaged: false,
        }
    }

    /// The entry with its closure.
    #[must_use]
    pub fn with_closure(self, closure: Vec<String>) -> IndexEntry {
        IndexEntry { closure, ..self }
    }

    /// Reads the entry at `path`. `None` if it is absent, damaged or without a closure, so that it is built again.
    ///
    /// # Errors
    /// The file exists but cannot be read.
    pub fn read(path: &Path, key: &SystemKey) -> Result<Option<IndexEntry>, Failure> {
        let is_whole = |entry: &IndexEntry| !entry.damaged && !entry.closure.is_empty();
        let is_usable = |entry: &IndexEntry| is_whole(entry) || !Protection::DamageIsMiss.is_on();
        IndexEntry::read_marked(path, key).map(|entry| entry.filter(is_usable))
    }

    /// Like [`IndexEntry::read`], but also returns an entry that is marked as damaged.
    ///
    /// # Errors
    /// Those of [`IndexEntry::read`].
    pub fn read_marked(path: &Path, key: &SystemKey) -> Result<Option<IndexEntry>, Failure> {
        let text = match std::fs::metadata(path) {
            Ok(found) if found.len() > MAX_ENTRY_BYTES => return Ok(None),
            Ok(_) => std::fs::read(path).io_context("read", path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).io_context("read", path),
        };
        let entry: Option<IndexEntry> = serde_json::from_slice(&text).ok();
        Ok(entry.filter(|entry| entry.schema == SCHEMA && entry.key == *key && !entry.paths.is_empty()))
    }

    /// The entry as JSON.
    ///
    /// # Errors
    /// Never in practice; serde's signature allows it.
    pub fn to_json(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(self).map_err(|error| {
            Failure::new(
                FailureKind::Internal,
                format!("an index entry cannot be written as JSON: {error}"),
            )
        })
    }
}
