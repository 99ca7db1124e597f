//! `cargo xtask doctor`: finds out what a cluster needs and lacks, judges it, and says how to mend it.

mod checks;
mod facts;
mod finding;
mod host;

use anyhow::Result;

use crate::exit::Exit;
use crate::flags;

/// Runs the command.
///
/// # Errors
/// It is not built yet.
pub fn run(_flags: &flags::Doctor) -> Result<Exit> {
    anyhow::bail!("not built yet")
}
