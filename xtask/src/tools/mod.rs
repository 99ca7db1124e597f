//! Finds the tools that a local run needs, or brings them, pinned and verified, into the checkout's `.tools` folder.
pub mod apt;
mod bubblewrap;
pub mod deb;
pub mod download;
mod error;
mod index;
mod nix;
mod pasta;
pub mod pins;
mod place;
pub mod process;
mod progress;
mod python;
mod show;
#[cfg(test)]
pub mod tests;
mod uv;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use error::ToolError;
pub use index::IndexSettings;
pub use nix::{NixProvider, NixTool};
pub use progress::{Progress, Silent, for_stderr};
pub use python::PythonInterpreter;
pub use show::{Format, run};

use deb::Mirror;
use pins::{Deb, DebPins, ToolPins};
use place::Place;

/// Everything a local run starts, where each came from, and what the machine's settings say about the network.
#[derive(Debug, Clone, Serialize)]
pub struct Tools {
    /// Makes Python environments.
    pub uv: Tool,
    /// Makes sandboxes.
    pub bwrap: Tool,
    /// Gives tasks a network of their own; none where it is not available (see `lacking`).
    pub pasta: Option<Tool>,
    /// What Python tasks run on.
    pub interpreter: PythonInterpreter,
    /// Makes system dependencies; none where it is not available (see `lacking`).
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
    /// nixpkgs where it can be reached, else debnix.
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
    fn new(name: &'static str, version: &str, path: &Path, origin: Origin) -> Result<Self, ToolError> {
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

/// Finds or brings every tool. Python, uv and bubblewrap are needed by every run: without one of them this fails. nix
/// and what belongs to it are needed only by tasks with system dependencies: what cannot be had is told in `lacking`,
/// unless `choice` asks for it by name.
pub fn provision(checkout: &Path, choice: &ToolChoice, progress: &dyn Progress) -> Result<Tools, ToolError> {
    let (tool_pins, deb_pins) = pins::read(checkout)?;
    let arch = std::env::consts::ARCH;
    let place = Place::new(checkout)?;
    // three slow questions to the machine and the network, asked side by side
    let (mirror, index, interpreter) = std::thread::scope(|scope| {
        let mirror = scope.spawn(|| find_mirror(&deb_pins, arch));
        let index = scope.spawn(index::read);
        let interpreter = python::find();
        (
            mirror.join().unwrap_or_default(),
            index.join().unwrap_or_default(),
            interpreter,
        )
    });
    let interpreter = interpreter?;
    let uv = uv::provide(&place, &tool_pins.uv, arch, progress)?;
    let debs = deb_pins.tool(arch, "bubblewrap")?;
    let bwrap = bubblewrap::provide(&place, &tool_pins.bubblewrap, &debs, arch, mirror.as_ref(), progress)?;
    let at = nix::Surroundings {
        checkout,
        place: &place,
        tool_pins: &tool_pins,
        deb_pins: &deb_pins,
        arch,
        mirror: mirror.as_ref(),
    };
    let mut lacking = Vec::new();
    let debs = deb_pins.tool(arch, "passt")?;
    let pasta = pasta::provide(&place, &tool_pins.passt, &debs, arch, mirror.as_ref(), progress);
    let pasta = match pasta {
        Ok(tool) => Some(tool),
        Err(error) => {
            lacking.push(format!("{error}; {}", error.hint()));
            None
        }
    };
    let mut optional = |result: Result<_, ToolError>, forced: bool| match result {
        Ok(tool) => Ok(Some(tool)),
        Err(error) if forced => Err(error),
        Err(error) => {
            lacking.push(format!("{error}; {}", error.hint()));
            Ok(None)
        }
    };
    let chosen = optional(nix::provide(&at, choice, progress), *choice != ToolChoice::default())?;
    let (nix, source) = chosen.unzip();
    let busybox = match source {
        Some(PackageSource::Debnix { .. }) => {
            Some(busybox(&place, &tool_pins, &deb_pins, arch, mirror.as_ref(), progress)?)
        }
        _ => None,
    };
    let apt_mirror = mirror.map(|mirror| mirror.address);
    Ok(Tools {
        uv,
        bwrap,
        pasta,
        interpreter,
        nix,
        busybox,
        apt_mirror,
        source,
        index,
        lacking,
    })
}

/// What the machine's settings say about the network, for tools that run elsewhere than on it.
///
/// # Errors
/// The checkout's pins cannot be read.
pub fn network(checkout: &Path) -> Result<(IndexSettings, Option<String>), ToolError> {
    let (_, deb_pins) = pins::read(checkout)?;
    let (mirror, index) = std::thread::scope(|scope| {
        let mirror = scope.spawn(|| find_mirror(&deb_pins, std::env::consts::ARCH));
        (mirror.join().unwrap_or_default(), index::read())
    });
    Ok((index, mirror.map(|mirror| mirror.address)))
}

/// The first of the machine's mirrors that serves one of the pins.
fn find_mirror(pins: &DebPins, arch: &str) -> Option<Mirror> {
    let busybox = pins.tool(arch, "busybox").ok()?;
    let (_, probe) = busybox.first()?;
    let proxy = apt::proxy();
    let mirrors = apt::mirrors(&apt::sources("/etc/apt".as_ref()), &pins.suite);
    let address = apt::serving(&mirrors, &probe.path, proxy.as_deref())?;
    Some(Mirror { address, proxy })
}

fn busybox(
    place: &Place,
    tool_pins: &ToolPins,
    deb_pins: &DebPins,
    arch: &str,
    mirror: Option<&Mirror>,
    progress: &dyn Progress,
) -> Result<Tool, ToolError> {
    let debs = deb_pins.tool(arch, "busybox")?;
    let package = &tool_pins.busybox.package;
    let version = version_of(&debs, package);
    let folder = deb::bring(
        place,
        place::Label {
            name: "busybox",
            version: &version,
            arch,
        },
        &debs,
        mirror,
        progress,
    )?;
    let origin = Origin::Brought {
        package: package.clone(),
        version: version.clone(),
        sha256: deb::digest(&debs),
    };
    Tool::new("busybox", &version, &folder.join("bin/busybox"), origin)
}

/// The upstream part of a package's pinned version: `1:1.35.0-4+b1` is 1.35.0.
fn version_of(debs: &[(&str, &Deb)], package: &str) -> String {
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
fn version_reached(version: &str, at_least: &str) -> bool {
    let numbers = |text: &str| {
        text.split('.')
            .map_while(|part| part.parse::<u32>().ok())
            .collect::<Vec<_>>()
    };
    numbers(version) >= numbers(at_least)
}
