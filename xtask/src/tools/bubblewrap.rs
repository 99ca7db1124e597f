//! bubblewrap, the sandbox: from PATH where it works, or from Debian packages.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::deb::{self, Mirror};
use super::error::ToolError;
use super::pins::{Deb, Package};
use super::place::{Label, Place};
use super::process;
use super::progress::Progress;
use super::{Origin, Tool, version_of, version_reached};

/// Finds or brings bubblewrap, and proves that it can make a sandbox here.
pub fn provide(
    place: &Place,
    pin: &Package,
    debs: &[(&str, &Deb)],
    arch: &str,
    mirror: Option<&Mirror>,
    progress: &dyn Progress,
) -> Result<Tool, ToolError> {
    let mut problem = "PATH holds no bwrap".to_owned();
    if let Some(path) = process::find("bwrap") {
        let command = [path.display().to_string()];
        match works(&command) {
            Ok(version) if version_reached(&version, &pin.at_least) => {
                return Tool::new("bubblewrap", &version, &path, Origin::Found { path: path.clone() });
            }
            Ok(version) => {
                problem = format!(
                    "{} is version {version}, wanted is {} or later",
                    path.display(),
                    pin.at_least
                )
            }
            Err(e) => problem = e.to_string(),
        }
    }
    let version = version_of(debs, &pin.package);
    let label = Label {
        name: "bubblewrap",
        version: &version,
        arch,
    };
    let folder = deb::bring(place, label, debs, mirror, progress).map_err(|e| lacking(format!("{problem}; {e}")))?;
    let path = folder.join("usr/bin/bwrap");
    let origin = Origin::Brought {
        package: pin.package.clone(),
        version: version.clone(),
        sha256: deb::digest(debs),
    };
    let mut tool = Tool::new("bubblewrap", &version, &path, origin)?;
    // the machine's own libraries will usually do, and start faster than a loader called by name
    if works(&tool.command).is_err() {
        tool.command = through_loader(&folder, arch, &path);
        works(&tool.command).map_err(|e| lacking(e.to_string()))?;
    }
    Ok(tool)
}

/// The program started by the loader and with the libraries of its own packages.
pub fn through_loader(folder: &Path, arch: &str, program: &Path) -> Vec<String> {
    let libraries = [format!("lib/{arch}-linux-gnu"), format!("usr/lib/{arch}-linux-gnu")];
    let loader = if arch == "aarch64" {
        "ld-linux-aarch64.so.1"
    } else {
        "ld-linux-x86-64.so.2"
    };
    let path: Vec<String> = libraries
        .iter()
        .map(|part| folder.join(part).display().to_string())
        .collect();
    let loader = folder.join(&libraries[0]).join(loader);
    vec![
        loader.display().to_string(),
        "--library-path".into(),
        path.join(":"),
        program.display().to_string(),
    ]
}

/// Makes the smallest sandbox and returns bubblewrap's version.
pub fn works(command: &[String]) -> Result<String, ToolError> {
    let start = || {
        let mut start = Command::new(&command[0]);
        start.args(&command[1..]);
        start
    };
    let said = process::output(start().arg("--version"), Duration::from_secs(10))?;
    let sandbox = [
        "--unshare-user",
        "--unshare-pid",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "true",
    ];
    process::output(start().args(sandbox), Duration::from_secs(10))?;
    Ok(said.split_whitespace().nth(1).unwrap_or("0").to_owned())
}

fn lacking(problem: String) -> ToolError {
    let remedy = "install the package bubblewrap; if it is installed, user namespaces are switched off: \
                  see kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces";
    ToolError::Unavailable {
        tool: "bubblewrap",
        problem,
        remedy: remedy.into(),
    }
}
