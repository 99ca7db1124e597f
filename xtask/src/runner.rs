//! Builds the runner: static where the machine can link it so, as it is the first program of every sandbox.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::checkout::Checkout;

/// The built runner.
pub struct Runner {
    /// The program.
    pub program: PathBuf,
    /// What a reader of the report should know.
    pub notes: Vec<String>,
}

/// Builds it with the release profile. A folder of its own keeps its flags from rebuilding everything else.
///
/// # Errors
/// It does not build.
pub fn build(checkout: &Checkout) -> Result<Runner> {
    let shell = Shell::new()?;
    shell.change_dir(checkout.root());
    let version = cmd!(shell, "rustc -vV")
        .quiet()
        .read()
        .context("asking rustc for its target")?;
    let target = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc -vV names no host")?;
    let folder = checkout.path("target/runner");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // An explicit target keeps the flag away from build scripts and procedural macros.
    let build = || {
        cmd!(
            shell,
            "{cargo} build --quiet --release --locked --package hybrid-cache-runner --bin runner"
        )
        .arg("--target")
        .arg(target)
        .arg("--target-dir")
        .arg(&folder)
    };
    eprintln!("building the runner");
    let mut notes = Vec::new();
    let linked = build()
        .quiet()
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .ignore_stderr()
        .run();
    if linked.is_err() {
        build()
            .quiet()
            .env("RUSTFLAGS", "")
            .run()
            .context("building the runner")?;
        notes.push("the runner is linked dynamically: this machine has no static C library".to_owned());
    }
    let program = folder.join(target).join("release/runner");
    ensure!(program.is_file(), "cargo built no {}", program.display());
    Ok(Runner { program, notes })
}
