//! Finds the tools that a local run needs, or brings them, pinned and verified, into the checkout's `.tools` folder.

use std::path::Path;

use crate::deb::{self, Mirror};
use crate::index::{self, IndexSettings};
use crate::pins::{self, DebPins, ToolPins};
use crate::progress::Progress;
use crate::tool::{Origin, PackageSource, Tool, ToolChoice, Tools, version_of};
use crate::tool_dir::{Label, ToolDir};
use crate::tool_error::ToolError;
use crate::{apt, bubblewrap, nix, pasta, python, uv};

/// Finds or brings every tool. Python, uv and bubblewrap are needed by every run: without one of them this fails. nix
/// and what belongs to it are needed only by tasks with system dependencies: `lacking` names what is not available,
/// unless `choice` asks for it by name.
pub fn provision(checkout: &Path, choice: &ToolChoice, progress: &dyn Progress) -> Result<Tools, ToolError> {
    let (tool_pins, deb_pins) = pins::read(checkout)?;
    let arch = std::env::consts::ARCH;
    let dir = ToolDir::new(checkout)?;
    // three slow questions to the machine and the network, asked side by side
    let (mirror, index, interpreter) = std::thread::scope(|scope| {
        let mirror = scope.spawn(|| find_mirror(&deb_pins, arch));
        let index = scope.spawn(index::read);
        let interpreter = python::find().map(|interpreter| (python::others(&interpreter), interpreter));
        (
            mirror.join().unwrap_or_default(),
            index.join().unwrap_or_default(),
            interpreter,
        )
    });
    let (other_interpreters, interpreter) = interpreter?;
    let uv = uv::provide(&dir, &tool_pins.uv, arch, progress)?;
    let debs = deb_pins.tool(arch, "bubblewrap")?;
    let bwrap = bubblewrap::provide(&dir, &tool_pins.bubblewrap, &debs, arch, mirror.as_ref(), progress)?;
    let at = nix::NixContext {
        checkout,
        dir: &dir,
        tool_pins: &tool_pins,
        deb_pins: &deb_pins,
        arch,
        mirror: mirror.as_ref(),
    };
    let mut lacking = Vec::new();
    let debs = deb_pins.tool(arch, "passt")?;
    let pasta = pasta::provide(&dir, &tool_pins.passt, &debs, arch, mirror.as_ref(), progress);
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
            Some(busybox(&dir, &tool_pins, &deb_pins, arch, mirror.as_ref(), progress)?)
        }
        _ => None,
    };
    let apt_mirror = mirror.map(|mirror| mirror.address);
    Ok(Tools {
        uv,
        bwrap,
        pasta,
        interpreter,
        other_interpreters,
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
    dir: &ToolDir,
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
        dir,
        Label {
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
