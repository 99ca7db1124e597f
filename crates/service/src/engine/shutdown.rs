//! Shuts the engine down: it starts nothing new, leaves tasks alone that outlive the process, and gives the others time
//! to end.

use std::sync::PoisonError;
use std::time::Duration;

use hybrid_cache_driver::Lifetime;
use tokio::time::timeout;

use super::handle::Engine;
use super::inner::Closing;
use super::intent::Intent;

/// How long the active tasks may take to let go once they are asked to.
const LETTING_GO: Duration = Duration::from_secs(30);

/// What became of the active tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// They ended in time.
    pub finished: usize,
    /// They go on, and the next service on this folder finds them.
    pub handed_over: usize,
    /// They were ended, and their outcome says so.
    pub stopped: usize,
}

impl Engine {
    /// Shuts the service down. Tasks that die with this process get `grace` to end by themselves.
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        let inner = &self.inner;
        inner.closing.send_replace(Closing::Draining);
        // Closing ends the loops; a task that was just claimed is still run.
        let loops = std::mem::take(&mut *inner.loops.lock().unwrap_or_else(PoisonError::into_inner));
        for ended in loops {
            // A loop that panicked has ended, too.
            let _ = timeout(LETTING_GO, ended).await;
        }
        let mut carried = inner.active_count.subscribe();
        let before = *carried.borrow_and_update();
        let lifetime = inner.driver.lifetime();
        if lifetime == Lifetime::WithProcess {
            // Those that do not end in time are ended next.
            let _ = timeout(grace, carried.wait_for(|count| *count == 0)).await;
        }
        let left = *carried.borrow_and_update();
        let ids: Vec<_> = inner.under_way().keys().cloned().collect();
        for id in &ids {
            inner.set_intent(id, Intent::Shutdown);
        }
        let gone = timeout(LETTING_GO, carried.wait_for(|count| *count == 0)).await;
        if gone.is_err() {
            tracing::error!("some tasks did not end in time");
        }
        if let Some(reason) = inner.driver.flush_trace().await {
            tracing::warn!(reason, "requests are not recorded");
        }
        inner.store.close().await;
        let finished = before.saturating_sub(left);
        let (handed_over, stopped) = match lifetime {
            Lifetime::Independent => (left, 0),
            Lifetime::WithProcess => (0, left),
        };
        tracing::info!(finished, handed_over, stopped, "shut down");
        ShutdownReport {
            finished,
            handed_over,
            stopped,
        }
    }
}
