//! Taking tasks out of the queue, one for each free place, in the order in which they were asked to run.

use std::sync::Arc;

use super::carry::{self, Stage};
use super::{Closing, Inner};
use crate::store::writes;

/// Runs until the service closes.
pub async fn run(inner: Arc<Inner>) {
    let mut closing = inner.closing.subscribe();
    tokio::select! {
        // An error means that the service is gone.
        _ = closing.wait_for(|closing| *closing != Closing::No) => {}
        () = take_forever(&inner) => {}
    }
}

async fn take_forever(inner: &Arc<Inner>) {
    let mut tally = inner.store.tally();
    let mut failures = 0;
    loop {
        let Ok(permit) = Arc::clone(&inner.slots).acquire_owned().await else {
            return;
        };
        inner.gate.pass().await;
        if tally.wait_for(|tally| tally.waiting() > 0).await.is_err() {
            return;
        }
        // On its own, so that a service that closes at this moment does not forget a task between its being claimed and its
        // being carried.
        let taken = tokio::spawn(take(Arc::clone(inner), permit));
        match taken.await {
            Ok(Ok(())) => failures = 0,
            Ok(Err(error)) => {
                failures += 1;
                tracing::warn!(%error, "no task can be taken from the queue");
                tokio::time::sleep(inner.config.backoff.pause(failures)).await;
            }
            Err(_) => return,
        }
    }
}

async fn take(inner: Arc<Inner>, permit: tokio::sync::OwnedSemaphorePermit) -> Result<(), crate::ServiceError> {
    let (driver, now_us) = (inner.driver.name(), inner.clock.now_us());
    let claimed = inner
        .store
        .write(move |desk| writes::claim(desk, driver, now_us))
        .await?;
    if let Some(claimed) = claimed {
        tracing::info!(task = %claimed.id, "starting");
        let carried = inner.enter(&claimed.id, carry::Wish::None);
        tokio::spawn(carry::run(inner, claimed, Stage::Fresh, Some(permit), carried));
    }
    Ok(())
}
