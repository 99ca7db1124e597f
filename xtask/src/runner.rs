//! Builds our programs that run elsewhere: static where the machine can link them so, as they bring no C library.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::checkout::Checkout;
use crate::exit::Expected;

/// A built program.
pub struct Built {
    /// The program.
    pub program: PathBuf,
    /// What a reader of the report should know.
    pub notes: Vec<String>,
}

/// The runner, which is the first program of every sandbox.
///
/// # Errors
/// It does not build.
pub fn build(checkout: &Checkout) -> Result<Built> {
    eprintln!("building the runner");
    program(checkout, "hybrid-cache-runner", "runner")
}

/// The task service as a program that runs in any image.
///
/// # Errors
/// It does not build, or only with this machine's own C library.
pub fn service(checkout: &Checkout) -> Result<PathBuf> {
    eprintln!("building the service (the first time takes minutes)");
    static_alone(program(checkout, "hybrid-cache-service", "hybrid-cache-service")?)
}

/// A program, where it is static.
///
/// # Errors
/// It is not.
pub fn static_alone(built: Built) -> Result<PathBuf> {
    match built.notes.first() {
        None => Ok(built.program),
        Some(note) => Err(Expected::prerequisite(format!(
            "{note}\nhint: install it (Debian: libc6-dev, Fedora: glibc-static); an image's program must be static"
        ))),
    }
}

/// Builds with the release profile. A folder of its own keeps its flags from rebuilding everything else.
fn program(checkout: &Checkout, package: &str, name: &str) -> Result<Built> {
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
            "{cargo} build --quiet --release --locked --package {package} --bin {name}"
        )
        .arg("--target")
        .arg(target)
        .arg("--target-dir")
        .arg(&folder)
    };
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
            .with_context(|| format!("building {name}"))?;
        notes.push(format!(
            "the {name} is linked dynamically: this machine has no static C library"
        ));
    }
    let program = folder.join(target).join("release").join(name);
    ensure!(program.is_file(), "cargo built no {}", program.display());
    Ok(Built { program, notes })
}
