//! A task that this process runs: its entry among the active tasks, and what is written about it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hybrid_cache_api::TaskId;
use hybrid_cache_model::{Outcome, Tenant};
use tokio::sync::watch;
use tokio::time::sleep;

use super::inner::Inner;
use super::intent::Intent;
use crate::state::Event;
use crate::store::writer::WriteContext;
use crate::store::writes::{self, CancelRequest};

/// A task that this process runs. Dropping it removes it from the active tasks.
pub struct ActiveTask {
    inner: Arc<Inner>,
    tenant: Tenant,
    pub(super) id: TaskId,
    intent: watch::Receiver<Intent>,
}

impl Drop for ActiveTask {
    fn drop(&mut self) {
        self.inner.under_way().remove(&self.id);
        self.inner
            .active_count
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl ActiveTask {
    /// The current intent.
    pub fn intent(&self) -> Intent {
        *self.intent.borrow()
    }

    /// Waits until the intent changes.
    pub async fn changed(&mut self) {
        if self.intent.changed().await.is_err() {
            // The sender stays in the map as long as this value exists.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for one intent.
    pub async fn wait_for_intent(&self, intent: Intent) {
        let mut intents = self.intent.clone();
        if intents.wait_for(|now| *now == intent).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Inner {
    /// Adds a task to the active ones.
    pub fn enter(self: &Arc<Inner>, tenant: &Tenant, id: &TaskId, intent: Intent) -> ActiveTask {
        let sender = watch::Sender::new(intent);
        let intent = sender.subscribe();
        self.under_way().insert(id.clone(), sender);
        self.active_count.send_modify(|count| *count += 1);
        ActiveTask {
            inner: Arc::clone(self),
            tenant: tenant.clone(),
            id: id.clone(),
            intent,
        }
    }

    /// Sets the intent of an active task. `Shutdown` is final.
    pub fn set_intent(&self, id: &TaskId, intent: Intent) {
        if let Some(sender) = self.under_way().get(id) {
            sender.send_if_modified(|now| {
                let changes = *now != intent && *now != Intent::Shutdown;
                if changes {
                    *now = intent;
                }
                changes
            });
        }
    }

    /// Stores how a task ended, and retries while the disk is full or the database locked. False if the service shuts
    /// down first.
    pub async fn keep_end(&self, active: &ActiveTask, event: Event, outcome: Option<&Outcome>) -> bool {
        let id = &active.id;
        let mut failures = 0;
        loop {
            let (tenant, wanted, now_us) = (active.tenant.clone(), id.clone(), self.clock.now_us());
            let (event, kept) = (event.clone(), outcome.cloned());
            let end = move |context: &mut WriteContext<'_>| {
                writes::end(context, (&tenant, &wanted), event.clone(), kept.as_ref(), now_us)
            };
            match self.store.write(end).await {
                Ok(state) => {
                    let stored = state.as_ref().map(|state| state.stored());
                    tracing::info!(task = %id, state = stored, "ended");
                    if let (Some(_), Some(outcome)) = (state, outcome) {
                        self.metrics.note_end(outcome);
                    }
                    self.outputs.live.close(id);
                    if self.outputs.files.bytes() > self.crowded_at.load(Ordering::Relaxed) {
                        self.crowded.notify_one();
                    }
                    return true;
                }
                Err(error) => {
                    failures += 1;
                    tracing::error!(task = %id, %error, "a task's end cannot be stored yet");
                    tokio::select! {
                        () = sleep(self.config.backoff.pause(failures)) => {}
                        () = active.wait_for_intent(Intent::Shutdown) => return false,
                    }
                }
            }
        }
    }

    /// Stores why a task waits. Errors are ignored, because the reason is only information.
    pub async fn note_waiting(&self, active: &ActiveTask, reason: Option<&str>) {
        let (id, reason) = (active.id.clone(), reason.map(str::to_owned));
        let written = self
            .store
            .write(move |context| writes::explain(context, &id, reason.as_deref()))
            .await;
        if let Ok(CancelRequest::Pending) = written {
            self.set_intent(&active.id, Intent::Cancel);
        }
    }
}
