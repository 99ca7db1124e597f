//! uv in exactly the pinned version: from PATH, or as a wheel through the machine's own pip.
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::download;
use crate::pins::Wheel;
use crate::process;
use crate::progress::Progress;
use crate::tool::{Origin, Tool};
use crate::tool_dir::{Label, ToolDir};
use crate::tool_error::ToolError;

/// Finds or brings uv.
pub fn provide(dir: &ToolDir, pin: &Wheel, arch: &str, progress: &dyn Progress) -> Result<Tool, ToolError> {
    if let Some(path) = process::find("uv") {
        let said = process::output(Command::new(&path).arg("--version"), Duration::from_secs(10)).unwrap_or_default();
        if said.split_whitespace().nth(1) == Some(&pin.version) {
            let path = path.canonicalize().map_err(ToolError::io("find", &path))?;
            return Tool::new("uv", &pin.version, &path, Origin::Found { path: path.clone() });
        }
    }
    let sha256 = pin
        .sha256
        .get(arch)
        .ok_or_else(|| lacking(pin, format!("no wheel is pinned for {arch}")))?;
    let label = Label {
        name: "uv",
        version: &pin.version,
        arch,
    };
    let folder = dir.tool(label, sha256, progress, |folder| bring(dir, pin, sha256, folder))?;
    let origin = Origin::Brought {
        package: "uv".into(),
        version: pin.version.clone(),
        sha256: sha256.clone(),
    };
    Tool::new("uv", &pin.version, &folder.join("bin/uv"), origin)
}

fn bring(dir: &ToolDir, pin: &Wheel, sha256: &str, folder: &Path) -> Result<(), ToolError> {
    let wheels = dir.downloads().join("uv");
    std::fs::create_dir_all(&wheels).map_err(ToolError::io("create", &wheels))?;
    let requirements = wheels.join("requirements.txt");
    std::fs::write(&requirements, format!("uv=={} --hash=sha256:{sha256}\n", pin.version))
        .map_err(ToolError::io("write", &requirements))?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "--no-deps",
    ]);
    pip.args(["--only-binary=:all:", "--require-hashes"])
        .arg("--dest")
        .arg(&wheels)
        .arg("--requirement")
        .arg(&requirements);
    process::output(&mut pip, Duration::from_secs(600)).map_err(|e| lacking(pin, e.to_string()))?;
    let start = format!("uv-{}-", pin.version);
    let files = std::fs::read_dir(&wheels).map_err(ToolError::io("read", &wheels))?;
    let wheel = files.flatten().find(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        name.starts_with(&start) && name.ends_with(".whl")
    });
    let wheel = wheel
        .ok_or_else(|| lacking(pin, "pip downloaded no wheel of it".into()))?
        .path();
    // pip has checked it too, but an older one need not
    let got = download::digest(&wheel)?;
    if got != sha256 {
        return Err(ToolError::Checksum {
            file: wheel,
            expected: sha256.to_owned(),
            got,
        });
    }
    unpack(&wheel, &pin.version, folder)?;
    std::fs::remove_dir_all(&wheels).map_err(ToolError::io("remove", &wheels))
}

/// Takes the one program out of the wheel.
fn unpack(wheel: &Path, version: &str, folder: &Path) -> Result<(), ToolError> {
    let fail = |problem: String| ToolError::Unpack {
        archive: wheel.to_path_buf(),
        problem,
    };
    let file = std::fs::File::open(wheel).map_err(ToolError::io("open", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| fail(e.to_string()))?;
    let mut entry = archive
        .by_name(&format!("uv-{version}.data/scripts/uv"))
        .map_err(|e| fail(e.to_string()))?;
    let mut program = Vec::new();
    entry.read_to_end(&mut program).map_err(|e| fail(e.to_string()))?;
    let bin = folder.join("bin");
    std::fs::create_dir(&bin).map_err(ToolError::io("create", &bin))?;
    let target = bin.join("uv");
    std::fs::write(&target, program).map_err(ToolError::io("write", &target))?;
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755))
        .map_err(ToolError::io("mark as program", &target))
}

fn lacking(pin: &Wheel, problem: String) -> ToolError {
    let remedy = format!(
        "put uv {} into PATH, or give python3 a pip that reaches a package index",
        pin.version
    );
    ToolError::Unavailable {
        tool: "uv",
        problem,
        remedy,
    }
}
