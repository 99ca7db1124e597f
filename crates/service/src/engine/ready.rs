//! Checks whether the service can work: one write to its volume and one to its database, at most once a second for all
//! callers. The cost does not depend on the number of tasks.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::handle::Engine;
use super::inner::{Closing, Inner};
use crate::private;
use crate::store::expiry;
use crate::store::writes;

/// How long a result is valid.
const STANDS: Duration = Duration::from_secs(1);
/// How long each of the two writes may take.
const WRITE: Duration = Duration::from_secs(2);
/// How much is written: room for a task's text and the beginning of its output.
const TRIED_BYTES: usize = 64 << 10;
/// The file that is written.
const FILE: &str = ".ready";

/// Whether the service can work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// True if the service accepts tasks: it can write, and is not shutting down.
    pub ready: bool,
    /// Why not, in lower case.
    pub reason: Option<String>,
    /// Why the driver does not answer; tasks are accepted and wait meanwhile.
    pub driver: Option<String>,
}

impl Engine {
    /// Checks whether the service can work.
    pub async fn ready(&self) -> Readiness {
        let inner = &self.inner;
        let reason = if *inner.closing.borrow() == Closing::No {
            inner.tried().await
        } else {
            Some("the service is shutting down".to_owned())
        };
        Readiness {
            ready: reason.is_none(),
            reason,
            driver: inner.circuit_breaker.down(),
        }
    }
}

impl Inner {
    /// Why nothing can be written, as found within the last second.
    async fn tried(&self) -> Option<String> {
        // Callers that wait for the lock get the same result.
        let mut last = self.ready.last.lock().await;
        if let Some((at, reason)) = last.as_ref()
            && at.elapsed() < STANDS
        {
            return reason.clone();
        }
        let reason = match self.try_volume().await {
            Some(reason) => Some(reason),
            None => self.try_database().await,
        };
        if let Some(reason) = &reason {
            tracing::warn!(reason, "nothing can be written");
        }
        *last = Some((Instant::now(), reason.clone()));
        reason
    }

    async fn try_volume(&self) -> Option<String> {
        let Ok(permit) = Arc::clone(&self.ready.trying).try_acquire_owned() else {
            return Some("the service's volume does not answer".to_owned());
        };
        let folder = self.config.folder.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let tried = write(&folder);
            drop(permit);
            tried
        });
        match timeout(WRITE, writing).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(format!("the service's volume cannot be written: {}", error.kind())),
            Ok(Err(_)) | Err(_) => Some("the service's volume does not answer".to_owned()),
        }
    }

    async fn try_database(&self) -> Option<String> {
        let tried = async {
            self.store.write(writes::try_to_write).await?;
            self.store.read(expiry::pages).await
        };
        let pages = match timeout(WRITE, tried).await {
            Ok(Ok(pages)) => pages,
            Ok(Err(error)) => return Some(error.to_string()),
            Err(_) => return Some("the database does not answer".to_owned()),
        };
        let bound = self.config.database_bytes?;
        let full = pages.used_bytes.saturating_add(TRIED_BYTES as u64) > bound;
        full.then(|| "the database has reached its size limit".to_owned())
    }
}

fn write(folder: &Path) -> io::Result<()> {
    let path = folder.join(FILE);
    let mut options = File::options();
    let mut file = private::file(options.write(true).create(true).truncate(true), &path)?;
    let written = file.write_all(&[0; TRIED_BYTES]).and_then(|()| file.sync_data());
    // A full volume gets this room back at once.
    let removed = std::fs::remove_file(&path);
    written.and(removed)
}
