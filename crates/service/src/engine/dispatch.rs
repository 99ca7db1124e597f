//! Takes tasks from the queue, one for each free slot. Tenants take turns, and each tenant's tasks run in the order in
//! which they were queued.

use std::sync::Arc;

use hybrid_cache_driver::Room;
use hybrid_cache_model::Tenant;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::inner::{Closing, Inner};
use super::intent::Intent;
use super::run_task;
use super::stage::Stage;
use crate::error::ServiceError;
use crate::store::tally::Tally;
use crate::store::writer::WriteContext;
use crate::store::writes;

/// Runs until the service shuts down. It checks for that between two tasks, so every claimed task is run.
pub async fn run(inner: Arc<Inner>) {
    let mut closing = inner.closing.subscribe();
    let mut tally = inner.store.tally();
    let mut failures = 0;
    let mut last = None;
    loop {
        let permit = tokio::select! {
            // An error means that the service is gone.
            _ = closing.wait_for(|closing| *closing != Closing::No) => return,
            permit = turn(&inner, &mut tally) => permit,
        };
        let Some((permit, room)) = permit else { return };
        match take(&inner, permit, room, &mut last).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "no task can be taken from the queue");
                tokio::time::sleep(inner.config.backoff.pause(failures)).await;
            }
        }
    }
}

/// Waits for a slot, a task, a driver that answers, and room on it; `None` if the service is gone.
async fn turn(inner: &Inner, tally: &mut watch::Receiver<Tally>) -> Option<(OwnedSemaphorePermit, Room)> {
    let permit = Arc::clone(&inner.slots).acquire_owned().await.ok()?;
    tally.wait_for(|tally| tally.all().waiting() > 0).await.ok()?;
    inner.circuit_breaker.wait_ready().await;
    Some((permit, inner.driver.room().await))
}

/// Starts one task. `last` is the tenant whose turn was last.
async fn take(
    inner: &Arc<Inner>,
    permit: OwnedSemaphorePermit,
    room: Room,
    last: &mut Option<Tenant>,
) -> Result<(), ServiceError> {
    let (driver, now_us, after) = (inner.driver.name(), inner.clock.now_us(), last.clone());
    // If the write were abandoned but done all the same, the task would stay in `starting` without anyone to run it.
    let claim = move |context: &mut WriteContext<'_>| writes::claim(context, after.as_ref(), driver, now_us);
    if let Some(claimed) = inner.store.write_certainly(claim).await? {
        *last = Some(claimed.tenant.clone());
        tracing::info!(task = %claimed.id, "starting");
        let active = inner.enter(&claimed.tenant, &claimed.id, Intent::Run);
        let inner = Arc::clone(inner);
        tokio::spawn(run_task::run(
            inner,
            claimed,
            Stage::Fresh,
            (Some(permit), room),
            active,
        ));
    }
    Ok(())
}
