//! Stores what a task prints while it runs, even if the connection to the driver breaks meanwhile.

use hybrid_cache_api::TaskId;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::log::Chunk;
use hybrid_cache_driver::{DriverError, LogReader, Ticket};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::inner::Inner;
use crate::output::OutputWriter;

/// Tasks whose output is read again from the beginning at the same time.
pub const CATCHING_UP: usize = 4;
/// How long one of them may take before the next one starts beside it.
const CATCH_UP_MOST: Duration = Duration::from_secs(2);

/// What is known of a task that the service waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitState {
    /// How often the driver did not answer. Its log may have ended with that, and then begins again.
    pub lost: u32,
    /// True once the task has ended.
    pub over: bool,
}

/// The running pump. Its result is a warning if some output could not be stored.
pub type Pump = JoinHandle<Option<String>>;

fn warning(error: &dyn std::fmt::Display) -> Option<String> {
    Some(format!("not all of the output could be stored: {error}"))
}

/// Whose output to store, and where it comes from.
pub struct Source {
    /// The task.
    pub id: TaskId,
    /// The driver's name for the task.
    pub ticket: Ticket,
    /// Its log.
    pub log: Result<LogReader, DriverError>,
    /// True if an earlier process may have stored some of it: the driver sends that again.
    pub again: bool,
}

/// Starts to store a task's output.
pub fn start(inner: &Arc<Inner>, source: Source, wait_state: watch::Receiver<WaitState>) -> Pump {
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let id = source.id.clone();
        match keep(&inner, source, wait_state).await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(task = %id, %error, "output cannot be stored");
                warning(&error)
            }
        }
    })
}

async fn keep(inner: &Inner, source: Source, mut wait_state: watch::Receiver<WaitState>) -> std::io::Result<()> {
    let mut turn = if source.again {
        Turn::wait(inner, wait_state.clone()).await
    } else {
        Turn(None)
    };
    // A cluster that does not separate the streams delivers both as one.
    let limit = inner.config.limits.output_bytes.saturating_mul(2);
    let (outputs, id) = (inner.outputs.clone(), source.id);
    let opened = tokio::task::spawn_blocking(move || outputs.writer(&id, limit)).await;
    let mut writer = opened.map_err(std::io::Error::other)??;
    let (mut log, mut lost) = (source.log, WaitState::default().lost);
    loop {
        match log {
            Ok(log) => {
                writer.begin(log.released())?;
                writer = pour(log, writer, &mut turn).await?;
            }
            Err(DriverError::UnknownTicket(_)) => {}
            Err(error) => return Err(std::io::Error::other(error)),
        }
        // The log has ended: with the task, or because the connection to the driver broke.
        let news = wait_state
            .wait_for(|wait_state| wait_state.over || wait_state.lost > lost)
            .await;
        lost = match news {
            Ok(wait_state) if wait_state.lost > lost => wait_state.lost,
            _ => break,
        };
        log = inner.driver.take_log(&source.ticket);
    }
    let synced = tokio::task::spawn_blocking(move || writer.sync());
    synced.await.map_err(std::io::Error::other)?
}

/// The right to read output that an earlier process has already stored. Only a few tasks have it at a time, so that a
/// service that starts does not read every log at once.
struct Turn(Option<(OwnedSemaphorePermit, Instant)>);

impl Turn {
    async fn wait(inner: &Inner, mut wait_state: watch::Receiver<WaitState>) -> Turn {
        let permit = Arc::clone(&inner.catching_up).acquire_owned();
        tokio::select! {
            // An error means that the service is gone.
            permit = permit => Turn(permit.ok().map(|permit| (permit, Instant::now() + CATCH_UP_MOST))),
            // The task has ended: do not wait long for the rest of its log.
            _ = wait_state.wait_for(|wait_state| wait_state.over) => Turn(None),
        }
    }

    /// The log's next chunk. A log without new output gives its turn to others.
    async fn next(&mut self, log: &mut LogReader) -> Option<Chunk> {
        if let Some((_, until)) = &self.0 {
            if let Ok(chunk) = timeout_at(*until, log.next()).await {
                return chunk;
            }
            self.0 = None;
        }
        log.next().await
    }
}

/// Copies a log into its file. Stops at the first error, so that the stored output has no gaps.
async fn pour(mut log: LogReader, mut writer: OutputWriter, turn: &mut Turn) -> std::io::Result<OutputWriter> {
    while let Some(chunk) = turn.next(&mut log).await {
        let written = tokio::task::spawn_blocking(move || writer.append(&chunk).map(|()| writer));
        writer = written.await.map_err(std::io::Error::other)??;
        if writer.has_caught_up() {
            *turn = Turn(None);
        }
    }
    *turn = Turn(None);
    Ok(writer)
}

/// Waits for the rest of a task's output after its end. If the driver does not close its log in time, the rest is lost.
pub async fn finish(inner: &Inner, mut pump: Pump, wait_state: &watch::Sender<WaitState>) -> Option<String> {
    wait_state.send_modify(|wait_state| wait_state.over = true);
    match timeout(inner.config.driver_call, &mut pump).await {
        Ok(Ok(warning)) => warning,
        Ok(Err(panic)) => warning(&panic),
        Err(_) => {
            pump.abort();
            warning(&"the driver did not close the log in time")
        }
    }
}
