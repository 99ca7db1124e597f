//! System packages by the names people use, mapped to the attributes of a package source.

use serde::{Deserialize, Serialize};

use crate::task::TaskError;

/// One system package: an attribute name such as `gnumake`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SystemPackage(String);

impl SystemPackage {
    /// The attribute name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads a comma-separated list of friendly names.
///
/// # Errors
/// The first entry that cannot be a package's name.
pub fn parse_list(_pointer: &'static str, text: &str) -> Result<Vec<SystemPackage>, TaskError> {
    Ok(text.split(',').map(|s| s.trim().to_lowercase()).filter(|s| !s.is_empty()).map(SystemPackage).collect())
}
