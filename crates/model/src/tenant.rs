//! Tenants: groups of users whose environments, tasks and output are kept apart on shared volumes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::protection::Protection;

/// Folder of both caches that holds a folder for each tenant.
pub const TENANTS_FOLDER: &str = "tenants";

/// Longest name in bytes; it becomes a folder's name and a Kubernetes label.
const MAX_NAME_BYTES: usize = 32;

/// A tenant's name: lower-case letters, digits and `-`, a letter or digit at both ends, at most 32 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

/// Why a text is not a tenant's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a tenant's name\nhint: use a-z, 0-9 and -, at most 32 characters, a letter or digit at both ends"
)]
pub struct TenantError(String);

impl Tenant {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of the tenant on both volumes, relative to the cache's root there: `tenants/<name>`.
    pub fn folder(&self) -> String {
        if Protection::TenantRoots.is_on() {
            format!("{TENANTS_FOLDER}/{}", self.0)
        } else {
            format!("{TENANTS_FOLDER}/{}", Tenant::default().0)
        }
    }
}

impl Default for Tenant {
    /// The tenant of everyone who names none.
    fn default() -> Tenant {
        Tenant("default".to_owned())
    }
}

impl FromStr for Tenant {
    type Err = TenantError;

    fn from_str(name: &str) -> Result<Tenant, TenantError> {
        let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = name.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        let good = bytes.len() <= MAX_NAME_BYTES
            && ends.iter().all(|end| end.is_some_and(|c| is_word(*c)))
            && bytes.iter().all(|c| is_word(*c) || *c == b'-');
        if good {
            Ok(Tenant(name.to_owned()))
        } else {
            Err(TenantError(name.chars().take(100).collect()))
        }
    }
}

impl TryFrom<String> for Tenant {
    type Error = TenantError;

    fn try_from(name: String) -> Result<Tenant, TenantError> {
        name.parse()
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> String {
        tenant.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_safe_folder_name_and_label() {
        for good in ["default", "a", "team-7", "0a", &"x".repeat(32)] {
            assert_eq!(good.parse::<Tenant>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a_b", "ä", &"x".repeat(33)] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Tenant>("\"../x\"").is_err());
    }
}
