//! pasta, which gives tasks a network of their own: from PATH if it supports the required options, or from Debian's package
//! passt.
use std::process::Command;
use std::time::Duration;

use crate::deb::{self, Brought, Mirror};
use crate::pins::{Deb, Package};
use crate::process;
use crate::progress::Progress;
use crate::tool::{Origin, Tool};
use crate::tool_dir::ToolDir;
use crate::tool_error::ToolError;

/// Longest time until pasta answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Options that `runner hold-network` passes to pasta.
const REQUIRED_OPTIONS: [&str; 4] = ["--config-net", "--no-map-gw", "--dns-forward", "--no-ra"];

/// Finds pasta in PATH, or downloads it.
pub fn provide(
    dir: &ToolDir,
    pin: &Package,
    debs: &[(&str, &Deb)],
    arch: &str,
    mirror: Option<&Mirror>,
    progress: &dyn Progress,
) -> Result<Tool, ToolError> {
    let mut problem = "PATH has no `pasta`".to_owned();
    if let Some(path) = process::find("pasta") {
        match works(&[path.display().to_string()]) {
            Ok(version) => return Tool::new("pasta", &version, &path, Origin::Found { path: path.clone() }),
            Err(error) => problem = error.to_string(),
        }
    }
    let brought = Brought {
        name: "pasta",
        folder: "passt",
        package: &pin.package,
        program: "usr/bin/pasta",
        arch,
    };
    let tool = deb::bring_program(dir, &brought, debs, mirror, progress, &works);
    tool.map_err(|error| lacking(format!("{problem}; {error}")))
}

/// Checks that pasta supports the required options, and returns its version.
fn works(command: &[String]) -> Result<String, ToolError> {
    // Its help ends with exit code 1, and some versions write it to standard error.
    let ask = |option: &str| {
        let mut start = Command::new(&command[0]);
        let ended = process::run(start.args(&command[1..]).arg(option), ANSWER_TIMEOUT)?;
        Ok::<_, ToolError>(ended.stdout + &ended.stderr)
    };
    let help = ask("--help")?;
    if let Some(missing) = REQUIRED_OPTIONS.iter().find(|option| !help.contains(**option)) {
        return Err(ToolError::Program {
            program: command.join(" "),
            problem: format!("it does not support {missing}"),
        });
    }
    let said = ask("--version")?;
    let version = said.lines().find_map(|line| line.strip_prefix("pasta "));
    Ok(version.unwrap_or("unknown").to_owned())
}

fn lacking(problem: String) -> ToolError {
    ToolError::Unavailable {
        tool: "pasta",
        problem,
        remedy: "install the package passt; without it tasks share this machine's network".into(),
    }
}
