//! Where an attack or a fault can be tried, and what an attack needs there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an attack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// In a sandbox of the local driver, or against files and services of this machine.
    Local,
    /// In a pod.
    Pod,
}

/// Both sites.
pub const ANYWHERE: &[Site] = &[Site::Local, Site::Pod];
/// This machine alone.
pub const LOCAL: &[Site] = &[Site::Local];

/// What an attack needs in addition to a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// System packages.
    Nix,
    /// An x86-64 machine.
    X86,
    /// Two tenants, which a kernel without Landlock cannot keep apart.
    Tenants,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Site::Local => "local",
            Site::Pod => "pod",
        })
    }
}
