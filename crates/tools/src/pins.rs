//! The pins that the checkout carries: `images/tools.toml` (versions, wheels, releases) and `images/debnix/pins.json` (debs).
use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::tool_error::ToolError;

/// Where the tool pins stand in a checkout.
pub const TOOLS_FILE: &str = "images/tools.toml";
/// Where debnix's pins stand in a checkout.
pub const DEBS_FILE: &str = "images/debnix/pins.json";

/// `images/tools.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ToolPins {
    /// From the Python package index, as a wheel.
    pub uv: Wheel,
    /// From the Python package index, as a wheel; only for measurements.
    pub pex: PexWheels,
    /// From its release page.
    pub nix_portable: Release,
    /// From Debian's package archive.
    pub nix: Package,
    /// From Debian's package archive.
    pub bubblewrap: Package,
    /// From Debian's package archive.
    pub passt: Package,
    /// From Debian's package archive.
    pub busybox: Package,
    /// The nixpkgs revision that system dependencies are resolved in.
    pub nixpkgs: Nixpkgs,
}

/// A tool that ships as a wheel: one digest for each architecture.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// The one version that is used.
    pub version: String,
    /// Architecture to sha256.
    pub sha256: BTreeMap<String, String>,
}

/// pex, which ships as two wheels of the same version.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PexWheels {
    /// The one version that is used.
    pub version: String,
    /// sha256 of the wheel for Python up to 3.11.
    pub up_to_3_11: String,
    /// sha256 of the wheel for later ones.
    pub from_3_12: String,
}

/// A tool that is one file of a release.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The release's tag without its `v`.
    pub version: String,
    /// Address with `{version}` and `{arch}` in it.
    pub url: String,
    /// Architecture to sha256.
    pub sha256: BTreeMap<String, String>,
}

/// A tool from Debian packages: `set` names the closure in [`DEBS_FILE`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Package {
    /// The package that holds the program.
    pub package: String,
    /// The oldest version that is accepted from the machine.
    pub at_least: String,
}

/// The pinned package collection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Nixpkgs {
    /// A commit of nixpkgs.
    pub revision: String,
    /// What the tree must hash to, as in a lock file.
    pub nar_hash: String,
}

/// `images/debnix/pins.json`, written by `cargo xtask debnix pin`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DebPins {
    /// The suite that the packages come from.
    pub suite: String,
    /// Architecture as the kernel names it (`x86_64`) to its packages.
    pub arch: BTreeMap<String, ArchPins>,
}

/// The packages of one architecture.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ArchPins {
    /// Package name to its file.
    pub debs: BTreeMap<String, Deb>,
    /// debnix attribute to the packages it is made of.
    pub set: BTreeMap<String, Vec<String>>,
    /// A tool of our own to the packages it is made of.
    pub tool: BTreeMap<String, Vec<String>>,
}

/// One package file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deb {
    /// Debian's version.
    pub version: String,
    /// Path below a mirror's base address.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest in hexadecimal.
    pub sha256: String,
}

/// Reads both files of a checkout.
pub fn read(checkout: &Path) -> Result<(ToolPins, DebPins), ToolError> {
    let text = std::fs::read_to_string(checkout.join(TOOLS_FILE))
        .map_err(ToolError::io("read", &checkout.join(TOOLS_FILE)))?;
    let tools = toml::from_str(&text).map_err(|e| ToolError::Pins {
        file: TOOLS_FILE,
        problem: e.to_string(),
    })?;
    let text =
        std::fs::read_to_string(checkout.join(DEBS_FILE)).map_err(ToolError::io("read", &checkout.join(DEBS_FILE)))?;
    let debs = serde_json::from_str(&text).map_err(|e| ToolError::Pins {
        file: DEBS_FILE,
        problem: e.to_string(),
    })?;
    Ok((tools, debs))
}

impl DebPins {
    /// The files of one of our tools, in the order of their names.
    pub fn tool(&self, arch: &str, tool: &str) -> Result<Vec<(&str, &Deb)>, ToolError> {
        let missing = |what: String| ToolError::Pins {
            file: DEBS_FILE,
            problem: what,
        };
        let pins = self
            .arch
            .get(arch)
            .ok_or_else(|| missing(format!("no packages for {arch}")))?;
        let names = pins
            .tool
            .get(tool)
            .ok_or_else(|| missing(format!("no tool {tool} for {arch}")))?;
        names
            .iter()
            .map(|name| {
                let deb = pins
                    .debs
                    .get(name)
                    .ok_or_else(|| missing(format!("{tool} wants {name}, which is not pinned")))?;
                Ok((name.as_str(), deb))
            })
            .collect()
    }
}
