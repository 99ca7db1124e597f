//! bubblewrap, the sandbox: from PATH if it works, or from Debian packages.
use std::process::Command;
use std::time::Duration;

use crate::deb::{self, Brought, Mirror};
use crate::pins::{Deb, Package};
use crate::process;
use crate::progress::Progress;
use crate::tool::{Origin, Tool, version_reached};
use crate::tool_dir::ToolDir;
use crate::tool_error::ToolError;

/// Finds bubblewrap in PATH, or downloads it, and checks that it can create a sandbox on this machine.
pub fn provide(
    dir: &ToolDir,
    pin: &Package,
    debs: &[(&str, &Deb)],
    arch: &str,
    mirror: Option<&Mirror>,
    progress: &dyn Progress,
) -> Result<Tool, ToolError> {
    let mut problem = "PATH has no `bwrap`".to_owned();
    if let Some(path) = process::find("bwrap") {
        let command = [path.display().to_string()];
        match works(&command) {
            Ok(version) if version_reached(&version, &pin.at_least) => {
                return Tool::new("bubblewrap", &version, &path, Origin::Found { path: path.clone() });
            }
            Ok(version) => {
                problem = format!(
                    "{} is version {version}, but {} or later is needed",
                    path.display(),
                    pin.at_least
                )
            }
            Err(e) => problem = e.to_string(),
        }
    }
    let brought = Brought {
        name: "bubblewrap",
        folder: "bubblewrap",
        package: &pin.package,
        program: "usr/bin/bwrap",
        arch,
    };
    let tool = deb::bring_program(dir, &brought, debs, mirror, progress, &works);
    tool.map_err(|error| lacking(format!("{problem}; {error}")))
}

/// Creates the smallest sandbox, and returns bubblewrap's version.
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
    let remedy = "install the package bubblewrap; if it is installed, allow user namespaces with the settings \
                  kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces";
    ToolError::Unavailable {
        tool: "bubblewrap",
        problem,
        remedy: remedy.into(),
    }
}
