//! `cargo xtask test`: every test of the workspace, with the tools that the end-to-end ones need at hand.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::checkout::Checkout;
use crate::exit::Exit;
use crate::tools::{self, ToolChoice};
use crate::{flags, runner};

/// Runs the command.
///
/// # Errors
/// The tools cannot be had, or a test fails.
pub fn run(flags: &flags::Test) -> Result<Exit> {
    let checkout = Checkout::find()?;
    let shell = Shell::new()?;
    shell.change_dir(checkout.root());
    let runner = runner::build(&checkout)?;
    shell.set_var("HYBRID_CACHE_RUNNER", &runner.program);
    // Tests that need a tool name themselves as skipped where it is not at hand.
    match tools::provision(checkout.root(), &ToolChoice::default(), tools::for_stderr().as_ref()) {
        Ok(tools) => {
            shell.set_var("HYBRID_CACHE_UV", &tools.uv.path);
            for missing in &tools.lacking {
                eprintln!("skipped: tests of system packages: {missing}");
            }
        }
        Err(error) => eprintln!("skipped: end-to-end tests: {error}; {}", error.hint()),
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let filter = flags.filter.iter();
    cmd!(shell, "{cargo} test --workspace --all-features --locked {filter...}")
        .run()
        .context("testing")?;
    Ok(Exit::Good)
}
