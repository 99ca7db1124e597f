//! The Docker engine as a node image needs it: loading archives, and one container in which containerd imports images.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use xshell::{Shell, cmd};

use super::command;
use hybrid_cache_tools::{ErrorContext, Result};

/// The half-built node that imports the images; it is deleted again.
pub const STAGE: &str = "hybrid-cache-node:staging";

/// A fixed name, so that what an interrupted build left behind is found.
const CONTAINER: &str = "hybrid-cache-node-staging";

/// Loads an archive of `docker save`.
///
/// # Errors
/// Docker does not take it.
pub fn load(archive: &Path) -> Result<()> {
    let shell = Shell::new()?;
    command::run(
        cmd!(shell, "docker load --quiet --input {archive}"),
        "loading the image",
    )
    .map(drop)
}

/// Whether the engine has an image.
///
/// # Errors
/// Docker cannot be started.
pub fn has(reference: &str) -> Result<bool> {
    let shell = Shell::new()?;
    let mut inspect: Command = cmd!(shell, "docker image inspect {reference}").into();
    Ok(inspect.output().context("cannot start docker")?.status.success())
}

/// Runs `script` in a container of [`STAGE`]: it takes the archive of images and leaves containerd's folder in `layer`.
///
/// # Errors
/// The container cannot be started, or the script fails.
pub fn import_images(script: &Path, images: &Path, layer: &Path) -> Result<()> {
    let shell = Shell::new()?;
    let script = shell.read_file(script)?;
    command::run(
        cmd!(shell, "docker rm --force {CONTAINER}"),
        "removing an earlier container",
    )
    .ok();
    // As kind does it: containerd makes its own mounts, which Docker's filter forbids.
    let mut run: Command = cmd!(
        shell,
        "docker run --rm --interactive --name {CONTAINER} --network none --log-driver none --security-opt seccomp=unconfined
         --entrypoint /bin/bash {STAGE} -c {script}"
    )
    .into();
    run.stdin(File::open(images).with_context(|| format!("cannot open {}", images.display()))?);
    run.stdout(File::create(layer).with_context(|| format!("cannot create {}", layer.display()))?);
    command::run(run, "importing images into the node's containerd").map(drop)
}

/// Deletes the half-built node, if there is one.
pub fn forget_stage() {
    if let Ok(shell) = Shell::new() {
        command::run(cmd!(shell, "docker image rm {STAGE}"), "removing the half-built node").ok();
    }
}
