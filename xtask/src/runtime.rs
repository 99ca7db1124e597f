//! How the commands of a cluster run: one thread, and Ctrl-C ends them with what they had done so far.

use std::time::Duration;

use hybrid_cache_tools::{ErrorContext, Result};
use tokio::runtime::{Builder, Runtime};

use crate::exit::Exit;

/// Long enough to hear of a signal that has come already.
const HEARD: Duration = Duration::from_millis(50);

/// One thread for everything.
///
/// # Errors
/// The system has no resources left.
pub fn current_thread() -> Result<Runtime> {
    let built = Builder::new_current_thread().enable_all().build();
    built.context("starting the runtime")
}

/// Threads beside this one, for work that goes on while this one waits; `None` makes one for each processor.
///
/// # Errors
/// The system has no resources left.
pub fn threads(count: Option<usize>) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(count) = count {
        builder.worker_threads(count);
    }
    builder.enable_all().build().context("starting the runtime")
}

/// True if Ctrl-C came since an earlier command ended. The next command is not ended by it: without this, tokio would tell
/// that one of it.
pub fn was_interrupted() -> bool {
    let runtime = Builder::new_current_thread().enable_all().build();
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
    let runtime = current_thread()?;
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
