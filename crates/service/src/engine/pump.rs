//! Keeping what a task prints while it runs, also over times in which the driver loses sight of it.

use std::sync::Arc;

use hybrid_cache_driver::{DriverError, LogReader, Ticket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Inner;
use crate::id::TaskId;
use crate::output::OutputWriter;

/// What is known of a task while it is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// How often the driver did not answer. Its log may have ended with that, and begins anew.
    pub lost: u32,
    /// True once the task has ended.
    pub over: bool,
}

/// The pump at work. The answer is a warning where not all could be kept.
pub type Pump = JoinHandle<Option<String>>;

fn warning(error: &dyn std::fmt::Display) -> Option<String> {
    Some(format!("not all of the output could be kept: {error}"))
}

/// Starts to keep a task's output.
pub fn start(inner: &Arc<Inner>, id: &TaskId, ticket: &Ticket, sight: watch::Receiver<Sight>) -> Pump {
    let (inner, id, ticket) = (Arc::clone(inner), id.clone(), ticket.clone());
    tokio::spawn(async move {
        match keep(&inner, &id, &ticket, sight).await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(task = %id, %error, "output cannot be kept");
                warning(&error)
            }
        }
    })
}

async fn keep(inner: &Inner, id: &TaskId, ticket: &Ticket, mut sight: watch::Receiver<Sight>) -> std::io::Result<()> {
    let (outputs, wanted, limit) = (inner.outputs.clone(), id.clone(), inner.config.limits.output_bytes);
    let opened = tokio::task::spawn_blocking(move || outputs.writer(&wanted, limit)).await;
    let mut writer = opened.map_err(std::io::Error::other)??;
    loop {
        let lost = sight.borrow_and_update().lost;
        match inner.driver.logs(ticket) {
            Ok(log) => writer = pour(log, writer).await?,
            Err(DriverError::UnknownTicket(_)) => {}
            Err(error) => return Err(std::io::Error::other(error)),
        }
        // The log has come to its end: with the task, or because the driver has lost sight of it.
        let news = sight.wait_for(|sight| sight.over || sight.lost > lost).await;
        if news.is_ok_and(|sight| sight.lost > lost) {
            writer.begin_again();
            continue;
        }
        break;
    }
    let synced = tokio::task::spawn_blocking(move || writer.sync());
    synced.await.map_err(std::io::Error::other)?
}

/// Pours a log into its file. On the first error it stops, so that what is kept is a beginning without gaps.
async fn pour(mut log: LogReader, mut writer: OutputWriter) -> std::io::Result<OutputWriter> {
    while let Some(chunk) = log.next().await {
        let written = tokio::task::spawn_blocking(move || writer.append(&chunk).map(|()| writer));
        writer = written.await.map_err(std::io::Error::other)??;
    }
    Ok(writer)
}

/// Waits for the rest of a task's output once it has ended; a driver that does not close its log in time loses the rest.
pub async fn finish(inner: &Inner, mut pump: Pump, sight: &watch::Sender<Sight>) -> Option<String> {
    sight.send_modify(|sight| sight.over = true);
    match timeout(inner.config.driver_call, &mut pump).await {
        Ok(Ok(warning)) => warning,
        Ok(Err(panic)) => warning(&panic),
        Err(_) => {
            pump.abort();
            warning(&"the driver did not say that it was over")
        }
    }
}
