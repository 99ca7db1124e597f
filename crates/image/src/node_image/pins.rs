//! `images/kind-node/versions.toml`: what a node image is made of.

use hybrid_cache_tools::{ErrorContext, Result};
use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where the pins stand below the folder of the node image's files.
pub const FILE: &str = "versions.toml";

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pins {
    /// Go's own name of the toolchain: `go1.26.8`.
    pub toolchain: String,
    /// The time that every file gets, in seconds since 1970.
    pub made_at_s: u64,
    /// Debian's suite of the root file systems.
    pub suite: String,
    /// What is compiled, in this order.
    pub component: Vec<Component>,
    /// PinnedRoot file systems by name.
    pub root: BTreeMap<String, PinnedRoot>,
    /// The images that the node holds.
    pub image: Vec<PinnedImage>,
    /// Folder of the node to the programs in it.
    pub node: BTreeMap<String, Vec<String>>,
}

/// Programs that come from one Go module.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Also the folder of its `go.mod`.
    pub name: String,
    /// Absent if the folder contains the program itself.
    pub module: Option<String>,
    /// The module's version.
    pub version: String,
    /// Program to the package that is compiled.
    pub programs: BTreeMap<String, String>,
    /// Build tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Variable to the text that the linker puts into it.
    #[serde(default)]
    pub define: BTreeMap<String, String>,
    /// Path in the module to what the symbolic link there points to, which the module's archive has lost. Left out of what
    /// is left out if there are none, so that it does not change the identity of the others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
}

/// A root file system of Debian packages.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedRoot {
    /// mmdebstrap's variant.
    pub variant: String,
    /// What it holds beyond the variant.
    pub packages: Vec<String>,
    /// A script of ours that ends it.
    pub hook: Option<String>,
}

/// One image in the node's containerd.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedImage {
    /// The name that pods ask for.
    pub reference: String,
    /// The root file system below; none for a static program alone.
    pub root: Option<String>,
    /// The program that it starts.
    pub program: Option<String>,
    /// Path of the program in the image.
    #[serde(default)]
    pub place: String,
    /// Path to what a symbolic link there points to.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
}

impl Pins {
    /// Reads them.
    ///
    /// # Errors
    /// The file is missing or not understood.
    pub fn read(files: &Path) -> Result<Pins> {
        let file = files.join(FILE);
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot understand {}", file.display()))
    }

    /// The component of a name.
    ///
    /// # Errors
    /// There is none.
    pub fn component(&self, name: &str) -> Result<&Component> {
        let found = self.component.iter().find(|component| component.name == name);
        found.with_context(|| format!("{FILE} has no component {name}"))
    }

    /// The component that a program belongs to.
    ///
    /// # Errors
    /// No component has it.
    pub fn component_of(&self, program: &str) -> Result<&Component> {
        let found = self.component.iter().find(|c| c.programs.contains_key(program));
        found.with_context(|| format!("{FILE} names program {program}, which no component has"))
    }

    /// Kubernetes' version, with its `v`.
    ///
    /// # Errors
    /// There is no such component.
    pub fn kubernetes(&self) -> Result<&str> {
        Ok(&self.component("kubernetes")?.version)
    }

    /// The image whose name ends with `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn image(&self, name: &str) -> Result<&PinnedImage> {
        let found = self.image.iter().find(|image| image.name() == name);
        found.with_context(|| format!("{FILE} has no image {name}"))
    }
}

impl PinnedImage {
    /// The last part of the reference, without its tag.
    pub fn name(&self) -> &str {
        let last = self.reference.rsplit('/').next().unwrap_or_default();
        last.split(':').next().unwrap_or_default()
    }
}
