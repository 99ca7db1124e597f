//! Takes notes of requests and hands them to the writer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::trace::config::TraceConfig;
use crate::trace::contents_source::ContentsSource;
use crate::trace::files::TraceFolder;
use crate::trace::line::Noted;
use crate::trace::warnings::Warnings;
use crate::trace::writer::{Writer, WriterMessage};

/// Requests that may wait to be written. Further requests are left out, and a warning says so.
const MAX_QUEUED: usize = 4096;
/// How long a caller waits for the writer.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);

/// Records requests. Dropping it ends the writer once everything is written, if the runtime runs until then.
pub struct RequestRecorder {
    config: TraceConfig,
    max_age_s: u64,
    contents: Arc<dyn ContentsSource>,
    /// Started with the first request, in the runtime that runs tasks.
    writer: OnceLock<mpsc::Sender<WriterMessage>>,
    warnings: Arc<Warnings>,
}

impl RequestRecorder {
    /// A recorder that has written nothing yet. Requests are resolved again after `max_age_s` seconds.
    pub fn new(config: TraceConfig, max_age_s: u64, contents: Arc<dyn ContentsSource>) -> RequestRecorder {
        RequestRecorder {
            config,
            max_age_s,
            contents,
            writer: OnceLock::new(),
            warnings: Arc::default(),
        }
    }

    /// Notes one request. Returns at once.
    pub fn note(&self, noted: Noted<'_>) {
        let Some(line) = noted.line() else { return };
        let sender = self.writer.get_or_init(|| {
            let (sender, messages) = mpsc::channel(MAX_QUEUED);
            let folder = TraceFolder::new(self.config.clone());
            let writer = Writer::new(
                folder,
                self.max_age_s,
                Arc::clone(&self.contents),
                Arc::clone(&self.warnings),
            );
            tokio::spawn(writer.run(messages));
            sender
        });
        if sender.try_send(WriterMessage::Note(Box::new(line))).is_err() {
            self.warnings
                .add(|| "requests arrived faster than the trace could be written: some are missing in it".to_owned());
        }
    }

    /// Waits until everything noted so far is written, for at most 20 s. Returns why something could not be written, once.
    pub async fn flush(&self) -> Option<String> {
        if let Some(sender) = self.writer.get() {
            let (done, written) = oneshot::channel();
            let flushed = async {
                if sender.send(WriterMessage::Flush(done)).await.is_ok() {
                    // An error means that the writer is gone; it has written what it could.
                    let _ = written.await;
                }
            };
            if tokio::time::timeout(FLUSH_TIMEOUT, flushed).await.is_err() {
                self.warnings
                    .add(|| format!("the trace was not written within {} s", FLUSH_TIMEOUT.as_secs()));
            }
        }
        self.warning()
    }

    /// Why something could not be written, once.
    pub fn warning(&self) -> Option<String> {
        self.warnings.take()
    }
}

#[cfg(test)]
mod tests;
