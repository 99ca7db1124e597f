//! pasta, which gives tasks a network of their own: from PATH if it knows the options in use, or from Debian's package
//! passt.
use std::process::Command;

use super::bubblewrap::through_loader;
use super::deb::{self, Mirror};
use super::error::ToolError;
use super::pins::{Deb, Package};
use super::place::{Label, Place};
use super::process;
use super::progress::Progress;
use super::{Origin, Tool, version_of};

/// What `runner hold-network` gives it.
const OPTIONS: [&str; 4] = ["--config-net", "--no-map-gw", "--dns-forward", "--no-ra"];

/// Finds or brings pasta.
pub fn provide(
    place: &Place,
    pin: &Package,
    debs: &[(&str, &Deb)],
    arch: &str,
    mirror: Option<&Mirror>,
    progress: &dyn Progress,
) -> Result<Tool, ToolError> {
    let mut problem = "PATH holds no pasta".to_owned();
    if let Some(path) = process::find("pasta") {
        match works(&[path.display().to_string()]) {
            Ok(version) => return Tool::new("pasta", &version, &path, Origin::Found { path: path.clone() }),
            Err(error) => problem = error.to_string(),
        }
    }
    let version = version_of(debs, &pin.package);
    let label = Label {
        name: "passt",
        version: &version,
        arch,
    };
    let folder = deb::bring(place, label, debs, mirror, progress).map_err(|e| lacking(format!("{problem}; {e}")))?;
    let path = folder.join("usr/bin/pasta");
    let origin = Origin::Brought {
        package: pin.package.clone(),
        version: version.clone(),
        sha256: deb::digest(debs),
    };
    let mut tool = Tool::new("pasta", &version, &path, origin)?;
    if works(&tool.command).is_err() {
        tool.command = through_loader(&folder, arch, &path);
        works(&tool.command).map_err(|e| lacking(e.to_string()))?;
    }
    Ok(tool)
}

/// Checks that it knows the options in use, and returns what it says of its version. It has no exit code for either.
fn works(command: &[String]) -> Result<String, ToolError> {
    let ask = |option: &str| {
        let mut start = Command::new(&command[0]);
        let output = start.args(&command[1..]).arg(option).output();
        output.map(|output| [output.stdout, output.stderr].concat())
    };
    let failed = |problem: String| ToolError::Program {
        program: command.join(" "),
        problem,
    };
    let said = ask("--help").map_err(|error| failed(error.to_string()))?;
    let help = String::from_utf8_lossy(&said);
    if let Some(missing) = OPTIONS.iter().find(|option| !help.contains(**option)) {
        return Err(failed(format!("it does not know {missing}")));
    }
    let said = ask("--version").map_err(|error| failed(error.to_string()))?;
    let first = String::from_utf8_lossy(&said);
    let first = first
        .lines()
        .find(|line| line.starts_with("pasta "))
        .unwrap_or("pasta unknown");
    Ok(first.trim_start_matches("pasta ").to_owned())
}

fn lacking(problem: String) -> ToolError {
    ToolError::Unavailable {
        tool: "pasta",
        problem,
        remedy: "install the package passt; without it tasks share this machine's network".into(),
    }
}
