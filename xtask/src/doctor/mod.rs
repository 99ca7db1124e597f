//! `cargo xtask doctor`.

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
