//! What a local run starts: the tools, where each came from, and which of them a person may choose.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::index::IndexSettings;
use crate::pins::Deb;
use crate::python::PythonInterpreter;
use crate::tool_error::ToolError;

/// Everything a local run starts, where each came from, and what the machine's settings say about the network.
#[derive(Debug, Clone, Serialize)]
pub struct Tools {
    /// Makes Python environments.
    pub uv: Tool,
    /// Makes sandboxes.
    pub bwrap: Tool,
    /// Gives tasks a network of their own; `None` if it is not available (see `lacking`).
    pub pasta: Option<Tool>,
    /// What Python tasks run on.
    pub interpreter: PythonInterpreter,
    /// Further interpreters that a task may ask for, the oldest first.
    pub other_interpreters: Vec<PythonInterpreter>,
    /// Makes system dependencies; `None` if it is not available (see `lacking`).
    pub nix: Option<NixTool>,
    /// The builder of debnix.
    pub busybox: Option<Tool>,
    /// Base address of the Debian mirror that debnix downloads from. Not written out: it says more about the machine's
    /// network than a report should.
    #[serde(skip)]
    pub apt_mirror: Option<String>,
    /// Where system dependencies come from.
    pub source: Option<PackageSource>,
    /// Which Python package index is used.
    pub index: IndexSettings,
    /// One line for each tool that is missing, with what to do about it.
    pub lacking: Vec<String>,
}

/// A program that is ready to run.
#[derive(Debug, Clone, Serialize)]
pub struct Tool {
    /// What it is called.
    pub name: &'static str,
    /// Its version.
    pub version: String,
    /// The program's file.
    pub path: PathBuf,
    /// How it is started: the program alone, or the loader that starts it. Arguments are appended.
    pub command: Vec<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a tool came from: part of a report's provenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Origin {
    /// It was on the machine.
    Found {
        /// Its file.
        path: PathBuf,
    },
    /// It was brought into the tool folder.
    Brought {
        /// The package it was in.
        package: String,
        /// That package's version.
        version: String,
        /// Digest of the file it came in, or of all of them together.
        sha256: String,
    },
}

/// Which program runs nix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NixProvider {
    /// A nix program.
    Nix,
    /// nix-portable, whose store brings its own nix.
    NixPortable,
}

/// A nix that is available here.
#[derive(Debug, Clone, Serialize)]
pub struct NixTool {
    /// Which kind.
    pub provider: NixProvider,
    /// Its version; for nix-portable its own, not that of the nix inside.
    pub version: String,
    /// Where it came from.
    pub origin: Origin,
    /// The program, or a launcher of it. If it was found on the machine, it runs in any sandbox that has /usr; if it was downloaded, it needs the tool folder
    /// at its own path and no other file of the machine.
    pub program: PathBuf,
    /// Variables it needs: proxies and certificates, and a user name for sandboxes without /etc/passwd.
    #[serde(skip)]
    pub env: BTreeMap<String, String>,
}

/// Where system dependencies come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum PackageSource {
    /// nixpkgs at one commit.
    Nixpkgs {
        /// The commit.
        revision: String,
        /// The tree's hash, as in a lock file.
        nar_hash: String,
    },
    /// The checkout's set of Debian packages.
    Debnix {
        /// Its folder.
        folder: PathBuf,
        /// Digest over its files: another digest may mean other packages.
        digest: String,
    },
}

/// Which nix is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProviderChoice {
    /// What the machine can have.
    #[default]
    Auto,
    /// A nix program, found or from Debian packages.
    Nix,
    /// nix-portable.
    NixPortable,
}

/// Which packages are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// nixpkgs if it can be reached, else debnix.
    #[default]
    Auto,
    /// nixpkgs.
    Nixpkgs,
    /// debnix.
    Debnix,
}

/// What a person may force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToolChoice {
    /// Which nix.
    pub provider: ProviderChoice,
    /// Which packages.
    pub source: SourceChoice,
}

impl Tool {
    pub(crate) fn new(name: &'static str, version: &str, path: &Path, origin: Origin) -> Result<Self, ToolError> {
        // commands travel as JSON and in argument lists that are text
        let command = path.to_str().ok_or_else(|| ToolError::Unavailable {
            tool: name,
            problem: format!("{} is not UTF-8", path.display()),
            remedy: "move the checkout to a path that is UTF-8".into(),
        })?;
        Ok(Self {
            name,
            version: version.to_owned(),
            path: path.to_path_buf(),
            command: vec![command.to_owned()],
            origin,
        })
    }
}

/// The upstream part of a package's pinned version: `1:1.35.0-4+b1` is 1.35.0.
pub(crate) fn version_of(debs: &[(&str, &Deb)], package: &str) -> String {
    let version = debs
        .iter()
        .find(|(name, _)| *name == package)
        .map_or("0", |(_, deb)| deb.version.as_str());
    let version = version.split_once(':').map_or(version, |(_epoch, rest)| rest);
    version
        .rsplit_once('-')
        .map_or(version, |(upstream, _revision)| upstream)
        .to_owned()
}

/// Compares dotted numbers; anything else in them ends the comparison.
pub(crate) fn version_reached(version: &str, at_least: &str) -> bool {
    let numbers = |text: &str| {
        text.split('.')
            .map_while(|part| part.parse::<u32>().ok())
            .collect::<Vec<_>>()
    };
    numbers(version) >= numbers(at_least)
}
