//! `cargo xtask test`: every test of the workspace, with the tools that the end-to-end ones need at hand.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::checkout::Checkout;
use crate::cluster::trial as cluster;
use crate::exit::Exit;
use crate::flags;
use crate::local::Machine;

/// Runs the command.
///
/// # Errors
/// The tools cannot be had, or a test fails.
pub fn run(flags: &flags::Test) -> Result<Exit> {
    let checkout = Checkout::find()?;
    let shell = Shell::new()?;
    shell.change_dir(checkout.root());
    // Tests that need a tool name themselves as skipped where it is not at hand.
    match Machine::provision(&checkout, &flags::Local::default()) {
        Ok(machine) => {
            let file = checkout.path("target/local-config.json");
            write_private(&file, &serde_json::to_vec_pretty(&machine.config)?).context("writing the tests' config")?;
            shell.set_var("HYBRID_CACHE_LOCAL_CONFIG", &file);
            shell.set_var("HYBRID_CACHE_UV", &machine.config.python_tools.uv);
            for missing in &machine.lacking {
                eprintln!("skipped: tests of system packages: {missing}");
            }
        }
        Err(error) => eprintln!("skipped: end-to-end tests: {error:#}"),
    }
    let cluster = cluster::for_tests(&checkout);
    match &cluster {
        Ok(cluster) => cluster
            .variables
            .iter()
            .for_each(|(name, value)| shell.set_var(name, value)),
        Err(error) => eprintln!("skipped: tests on a cluster: {error:#}"),
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let filter = flags.filter.iter();
    // A test that passes because it was skipped says so, and that must be seen.
    let tested = cmd!(
        shell,
        "{cargo} test --workspace --all-features --locked {filter...} -- --show-output"
    )
    .run();
    if let Ok(cluster) = cluster {
        cluster.take_down()?;
    }
    tested.context("testing")?;
    Ok(Exit::Good)
}

/// Writes a file that may hold the address of an index together with its password.
///
/// # Errors
/// It cannot be written.
pub fn write_private(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut opened = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    opened.write_all(text)
}
