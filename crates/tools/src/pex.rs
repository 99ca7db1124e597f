//! pex in exactly the pinned version, through uv. Tasks never use it; a benchmark measures it beside a cached run.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hybrid_cache_model::protocol::PythonTools;

use crate::checkout::Checkout;
use crate::pins::{self, PexWheels};
use crate::process;
use crate::progress::Progress;
use crate::tool::{Origin, Tool, version_reached};
use crate::tool_dir::{Label, ToolDir};
use crate::tool_error::ToolError;

/// The Python from which the second of the two wheels is the right one.
const SECOND_WHEEL_FROM: &str = "3.12";

/// Finds or brings pex for an interpreter of this version. Its path is the folder that `PYTHONPATH` has to name; `python -m pex` starts
/// it.
///
/// # Errors
/// uv cannot install it, or what it got is not what is pinned.
pub fn provide(
    checkout: &Checkout,
    uv: &PythonTools,
    (interpreter, version): (&Path, &str),
    progress: &dyn Progress,
) -> Result<Tool, ToolError> {
    let (pins, _) = pins::read(checkout.root())?;
    let sha256 = wheel(&pins.pex, version);
    let name = if sha256 == pins.pex.from_3_12 { "py312" } else { "py2" };
    let label = Label {
        name: "pex",
        version: &pins.pex.version,
        arch: name,
    };
    let dir = ToolDir::new(checkout.root())?;
    let bring = |folder: &Path| {
        let requirements = folder.join("requirements.txt");
        std::fs::write(&requirements, requirement(&pins.pex, sha256)).map_err(ToolError::io("write", &requirements))?;
        let mut install = install(uv, interpreter, folder);
        process::output(&mut install, Duration::from_secs(600)).map_err(|error| ToolError::Unavailable {
            tool: "pex",
            problem: error.to_string(),
            remedy: "give uv a package index that has it".into(),
        })
    };
    let folder = dir.tool(label, sha256, progress, |folder| bring(folder).map(drop))?;
    let origin = Origin::Brought {
        package: "pex".into(),
        version: pins.pex.version.clone(),
        sha256: sha256.to_owned(),
    };
    Tool::new("pex", &pins.pex.version, &folder.join("lib"), origin)
}

/// The digest of the wheel that fits a Python of this version.
fn wheel<'a>(pin: &'a PexWheels, version: &str) -> &'a str {
    if version_reached(version, SECOND_WHEEL_FROM) {
        &pin.from_3_12
    } else {
        &pin.up_to_3_11
    }
}

fn requirement(pin: &PexWheels, sha256: &str) -> String {
    format!("pex=={} --hash=sha256:{sha256}\n", pin.version)
}

fn install(uv: &PythonTools, interpreter: &Path, folder: &Path) -> Command {
    let mut command = Command::new(&uv.uv);
    command
        .args([
            "pip",
            "install",
            "--require-hashes",
            "--no-deps",
            "--no-build",
            "--no-cache",
        ])
        .arg("--python")
        .arg(interpreter)
        .arg("--target")
        .arg(folder.join("lib"))
        .arg("--requirement")
        .arg(folder.join("requirements.txt"));
    command.env_clear().env("HOME", folder).env("UV_NO_CONFIG", "1");
    command.envs(uv.variables.iter().map(|(name, value)| (name, value)));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> PexWheels {
        PexWheels {
            version: "2.1".into(),
            up_to_3_11: "old".into(),
            from_3_12: "new".into(),
        }
    }

    #[test]
    fn the_wheel_follows_the_interpreter() {
        for (version, sha256) in [
            ("3.8.18", "old"),
            ("3.11.7", "old"),
            ("3.12.0", "new"),
            ("3.14.2", "new"),
        ] {
            assert_eq!(wheel(&pin(), version), sha256, "{version}");
        }
        assert_eq!(requirement(&pin(), "new"), "pex==2.1 --hash=sha256:new\n");
    }

    #[test]
    fn uv_installs_only_what_has_the_pinned_hash() {
        let uv = PythonTools {
            uv: "/tools/uv".into(),
            variables: vec![("UV_DEFAULT_INDEX".into(), "value".into())],
        };
        let command = install(&uv, Path::new("/python"), Path::new("/new"));
        let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        assert_eq!(
            arguments.join(" "),
            "pip install --require-hashes --no-deps --no-build --no-cache --python /python --target /new/lib --requirement \
             /new/requirements.txt"
        );
        let names: Vec<_> = command.get_envs().map(|(name, _)| name.to_string_lossy()).collect();
        assert_eq!(names, ["HOME", "UV_DEFAULT_INDEX", "UV_NO_CONFIG"]);
    }
}
