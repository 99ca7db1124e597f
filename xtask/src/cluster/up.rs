//! `cargo xtask up`.

use anyhow::Result;

use crate::exit::Exit;
use crate::flags;

/// Runs the command.
///
/// # Errors
/// It is not built yet.
pub fn run(_flags: &flags::Up) -> Result<Exit> {
    anyhow::bail!("not built yet")
}
