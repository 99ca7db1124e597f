//! The parts of environments with their sizes on the volume. Traces of requests are written from them.

use serde::{Deserialize, Serialize};

use crate::tenant::Tenant;

/// Name of an environment, or of a request, of a tenant among those of all tenants: two tenants may have the same key.
pub fn name_of(key: &str, tenant: &Tenant) -> String {
    if *tenant == Tenant::default() {
        key.to_owned()
    } else {
        format!("{key}@{tenant}")
    }
}

/// Allocated bytes and inodes.
pub type Weight = (u64, u64);

/// Something that environments share: an unpacked wheel, a folder of bytecode, a store path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartContents(
    /// Its id, which stays the same when it is downloaded again.
    pub String,
    /// Allocated bytes.
    pub u64,
    /// Inodes.
    pub u64,
);

/// One environment, or one set of system packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentContents {
    /// See [`name_of`].
    pub name: String,
    /// Names of its packages, the first few; empty if they cannot be read.
    pub label: String,
    /// Its last known use, in microseconds since 1970.
    pub used_us: u64,
    /// Usage outside of its parts.
    pub own: Weight,
    /// Its parts, as indices into those of the volume.
    pub parts: Vec<u32>,
}

/// Environments of one volume. Those that share parts name them by index, so that a list of thousands stays short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeContents {
    /// What counts against the budget and belongs to no environment; 0 if only some environments were asked for.
    pub rest: Weight,
    /// The parts of these environments.
    pub parts: Vec<PartContents>,
    /// The environments.
    pub environments: Vec<EnvironmentContents>,
}

impl VolumeContents {
    /// The environment of that name.
    pub fn find(&self, name: &str) -> Option<&EnvironmentContents> {
        self.environments.iter().find(|environment| environment.name == name)
    }

    /// The parts of one of the environments; an index beyond the list, which no runner writes, names none.
    pub fn parts_of<'a>(&'a self, environment: &'a EnvironmentContents) -> impl Iterator<Item = &'a PartContents> {
        let parts = environment.parts.iter();
        parts.filter_map(|part| self.parts.get(usize::try_from(*part).unwrap_or(usize::MAX)))
    }
}

/// Environments of both volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The Python volume; absent if it was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<VolumeContents>,
    /// The system volume likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<VolumeContents>,
}

/// What one preparation has made or found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The environments that the task uses.
    pub contents: Contents,
    /// True if the Python request was known, and was resolved again because it was older than its maximum age.
    #[serde(default)]
    pub expired: bool,
}

/// Which entries of the caches a run used, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedKeys {
    /// The Python request; absent if the task asks for no Python packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python_request: Option<String>,
    /// The Python environment; absent also if it was not published yet when the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// The set of system packages; absent if the task asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

impl UsedKeys {
    /// True if no cache was asked.
    pub fn is_empty(&self) -> bool {
        *self == UsedKeys::default()
    }
}
