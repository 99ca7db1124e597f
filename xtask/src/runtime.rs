//! Runs the commands of a cluster on one thread; Ctrl-C ends them and keeps what was done so far.

use std::time::Duration;

use hybrid_cache_tools::{ErrorContext, Result};
use tokio::runtime::{Builder, Runtime};

use crate::exit::Exit;

/// Long enough to receive a signal that has already arrived.
const SIGNAL_TIMEOUT: Duration = Duration::from_millis(50);

/// A runtime with one thread for everything.
pub fn current_thread() -> Result<Runtime> {
    let built = Builder::new_current_thread().enable_all().build();
    built.context("starting the runtime")
}

/// A runtime with worker threads, for work that continues while this thread waits; `None` starts one for each processor.
pub fn threads(count: Option<usize>) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(count) = count {
        builder.worker_threads(count);
    }
    builder.enable_all().build().context("starting the runtime")
}

/// True if Ctrl-C arrived since an earlier command ended. Receiving it here keeps tokio from passing it to the next command.
pub fn was_interrupted() -> bool {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.is_ok_and(|runtime| {
        let heard = async { tokio::time::timeout(SIGNAL_TIMEOUT, tokio::signal::ctrl_c()).await };
        runtime.block_on(heard).is_ok()
    })
}

/// Runs a command to its end or to Ctrl-C. `next` says what to do after an interruption.
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
    // A thread that waits for a lock cannot be stopped; the process ends in a moment.
    runtime.shutdown_timeout(Duration::from_millis(10));
    exit
}
