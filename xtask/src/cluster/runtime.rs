//! How the commands of a cluster run: one thread, and Ctrl-C ends them with what they had done so far.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::exit::Exit;

/// Runs to the end or to Ctrl-C. `next` is what to do after an interruption.
///
/// # Errors
/// Those of the command.
pub fn block_on(command: impl Future<Output = Result<Exit>>, next: &str) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let exit = runtime.block_on(async {
        tokio::select! {
            exit = command => exit,
            _ = tokio::signal::ctrl_c() => {
                eprintln!("interrupted: {next}");
                Ok(Exit::Interrupted)
            }
        }
    });
    // A thread that waits for a lock cannot be told to stop; the process ends in a moment.
    runtime.shutdown_timeout(Duration::from_millis(10));
    exit
}
