//! What a node image cannot be built without on this machine.

use xshell::{Shell, cmd};

use super::command;
use super::pins::Pins;
use hybrid_cache_tools::{Error, Result};

/// Checks everything at once, so that one answer names all that is missing.
///
/// # Errors
/// Something is missing: what, and how to get it.
pub fn check(pins: &Pins) -> Result<()> {
    let shell = Shell::new()?;
    shell.set_var("GOTOOLCHAIN", &pins.toolchain);
    let mut missing = Vec::new();
    let mut need = |fine: Result<String>, hint: &str| {
        if let Err(error) = fine {
            missing.push(format!("{error:#}\nhint: {hint}"));
        }
    };
    need(
        command::run(cmd!(shell, "go version"), &format!("looking for {}", pins.toolchain)),
        "install Go 1.21 or later; it fetches the pinned toolchain from the module proxy (GOPROXY) if it is another version",
    );
    need(
        command::run(cmd!(shell, "mmdebstrap --version"), "looking for mmdebstrap"),
        "install Debian's package mmdebstrap",
    );
    let format = "{{.Server.Version}}";
    need(
        command::run(cmd!(shell, "docker version --format {format}"), "looking for Docker"),
        "start the Docker engine, or set DOCKER_HOST, and check that this user may use it",
    );
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::prerequisite(missing.join("\n")))
}
