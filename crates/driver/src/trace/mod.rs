//! Records each request that uses the standing caches, for `cargo xtask size`: what was asked, what it met, what that cost.
//!
//! ```text
//! task ── note ──► queue ──► writer task ──► <folder>/trace-<n>.jsonl     the format is `hybrid_cache_sizing::trace`
//!                              │ asks the runner what environments are made of, where no line of the file says it
//!                              ▼
//!                            <folder>/trace-<n>.known                     names of the environments that the file defines
//! ```
//!
//! Nothing waits for it: a task is noted once its outcome is known, and the writer works beside everything else. A line is
//! written whole, under a lock that all writers on this machine share. What cannot be written is told once and fails no task.
//! Neither code nor output of a task ever comes here.

mod files;
mod line;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_model::contents::Contents;
use hybrid_cache_model::{Failure, Tenant};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

pub use files::files_in;
pub use line::{Noted, Notes};

use files::TraceFolder;
use line::Line;
use writer::Writer;

/// Name of a trace's folder, below the folder of the caches or of a service's data.
pub const FOLDER: &str = "trace";
/// Bytes that the files of a trace may take together, where nobody says: about 400,000 requests.
pub const DEFAULT_MAX_BYTES: u64 = 64 << 20;
/// Requests that may wait to be written; beyond them requests are left out, and that is told.
const QUEUE: usize = 4096;
/// Longest that a caller waits for the writer.
const FLUSH: Duration = Duration::from_secs(20);

/// Where requests are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceConfig {
    /// The folder; made with the first request.
    pub folder: PathBuf,
    /// Most bytes that its files take together. The oldest file goes where a new one would exceed them.
    pub max_bytes: u64,
}

impl TraceConfig {
    /// In that folder, with the default bound.
    pub fn new(folder: impl Into<PathBuf>) -> TraceConfig {
        TraceConfig {
            folder: folder.into(),
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }
}

/// Knows what the volumes hold.
#[async_trait]
pub trait Resident: Send + Sync {
    /// What the environments of the standing caches are made of. May take seconds.
    async fn contents(&self) -> Result<Contents, Failure>;

    /// The environment that a Python request leads to now, where that can be seen without asking anybody.
    fn environment_of(&self, _tenant: &Tenant, _request: &str) -> Option<String> {
        None
    }

    /// Least time between two questions, other than the first.
    fn pause(&self) -> Duration;
}

/// Takes notes of requests. Dropping it ends the writer once everything is written, if the runtime lives so long.
pub struct Recorder {
    config: TraceConfig,
    max_age_s: u64,
    resident: Arc<dyn Resident>,
    /// Made with the first request, within the runtime that runs tasks.
    writer: OnceLock<mpsc::Sender<Message>>,
    warnings: Arc<Warnings>,
}

/// What the writer is told.
enum Message {
    Note(Box<Line>),
    Flush(oneshot::Sender<()>),
}

/// What could not be recorded, each kind told once.
#[derive(Default)]
pub(crate) struct Warnings {
    state: Mutex<(Option<String>, bool)>,
}

impl Warnings {
    /// Notes a reason, unless one was told already.
    pub fn add(&self, reason: impl FnOnce() -> String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut state.1, true) {
            state.0 = Some(reason());
        }
    }

    fn take(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

impl Recorder {
    /// A recorder that has touched nothing yet. Requests are resolved again after `max_age_s` seconds.
    pub fn new(config: TraceConfig, max_age_s: u64, resident: Arc<dyn Resident>) -> Recorder {
        Recorder {
            config,
            max_age_s,
            resident,
            writer: OnceLock::new(),
            warnings: Arc::default(),
        }
    }

    /// Notes one request. Returns at once.
    pub fn note(&self, noted: Noted<'_>) {
        let Some(line) = noted.line() else { return };
        let sender = self.writer.get_or_init(|| {
            let (sender, messages) = mpsc::channel(QUEUE);
            let folder = TraceFolder::new(self.config.clone());
            let writer = Writer::new(
                folder,
                self.max_age_s,
                Arc::clone(&self.resident),
                Arc::clone(&self.warnings),
            );
            tokio::spawn(writer.run(messages));
            sender
        });
        if sender.try_send(Message::Note(Box::new(line))).is_err() {
            self.warnings
                .add(|| "requests came faster than the trace could be written: some are not in it".to_owned());
        }
    }

    /// Waits until everything noted so far is written, for some seconds at most. Returns why something could not be, once.
    pub async fn flush(&self) -> Option<String> {
        if let Some(sender) = self.writer.get() {
            let (told, written) = oneshot::channel();
            let flushed = async {
                if sender.send(Message::Flush(told)).await.is_ok() {
                    // A writer that is gone has written what it could.
                    let _ = written.await;
                }
            };
            if tokio::time::timeout(FLUSH, flushed).await.is_err() {
                self.warnings
                    .add(|| format!("the trace was not written within {} s", FLUSH.as_secs()));
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
