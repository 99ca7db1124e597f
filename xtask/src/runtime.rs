//! How the commands of a cluster run: one thread, and Ctrl-C ends them with what they had done so far.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::exit::Exit;

/// Long enough to hear of a signal that has come already.
const HEARD: Duration = Duration::from_millis(50);

/// True if Ctrl-C came since an earlier command ended. The next command is not ended by it: without this, tokio would tell
/// that one of it.
pub fn was_interrupted() -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.is_ok_and(|runtime| {
        let heard = async { tokio::time::timeout(HEARD, tokio::signal::ctrl_c()).await };
        runtime.block_on(heard).is_ok()
    })
}

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
