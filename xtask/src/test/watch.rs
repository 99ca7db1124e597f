//! `cargo xtask watch-test`: runs one test program for cargo with a time limit for each of its tests.

use std::time::Duration;

use hybrid_cache_tools::{Result, test_watch};

use crate::exit::Exit;
use crate::flags;

/// Runs the command.
pub fn run(flags: &flags::WatchTest) -> Result<Exit> {
    let (program, limit) = (&flags.program, Duration::from_secs(flags.seconds));
    let status = test_watch::run(program, &flags.arguments, limit, &mut std::io::stdout())?;
    if status.code().is_none() {
        eprintln!("{}: {status}", program.display());
    }
    Ok(if status.success() { Exit::Good } else { Exit::Failed })
}
