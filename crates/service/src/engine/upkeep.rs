//! Looking after what is kept: old tasks go, output of tasks that are no more goes, volumes are looked at.

use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Closing, Inner};
use crate::error::ServiceError;
use crate::id::TaskId;
use crate::store::expiry::{self, Expiry};
use crate::store::history;
use crate::store::rows;
use crate::store::writer::Desk;

/// Most batches of one look, so that a clock that jumps does not delete everything in one go.
const BATCHES: usize = 100;

/// Runs until the service closes.
pub async fn run(inner: Arc<Inner>) {
    let mut closing = inner.closing.subscribe();
    tokio::select! {
        // An error means that the service is gone.
        _ = closing.wait_for(|closing| *closing != Closing::No) => {}
        () = look_forever(&inner) => {}
    }
}

async fn look_forever(inner: &Inner) {
    if let Err(error) = sweep(inner).await {
        tracing::warn!(%error, "left-over output cannot be looked for");
    }
    let every = inner.config.retention.every;
    let mut ticks = interval_at(Instant::now(), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = expire(inner).await {
            tracing::warn!(%error, "old tasks cannot be deleted");
        }
        if let Err(error) = look_at_volumes(inner).await {
            tracing::warn!(%error, "what the volumes hold cannot be kept");
        }
    }
}

/// Deletes output whose task is no more: a process was killed between deleting the one and the other.
async fn sweep(inner: &Inner) -> Result<(), ServiceError> {
    let files = inner.outputs.files.clone();
    let ids = tokio::task::spawn_blocking(move || files.ids()).await;
    let ids = ids.map_err(std::io::Error::other).and_then(|ids| ids);
    let ids = ids.map_err(|error| ServiceError::Storage {
        message: error.to_string(),
    })?;
    let orphans = move |sql: &_| {
        let mut orphans = Vec::new();
        for id in ids {
            if !rows::is_kept(sql, &id)? {
                orphans.push(id);
            }
        }
        Ok(orphans)
    };
    for id in inner.store.read(orphans).await? {
        inner.remove_output(&id).await;
    }
    Ok(())
}

/// Deletes what is too old or too much.
async fn expire(inner: &Inner) -> Result<(), ServiceError> {
    let retention = &inner.config.retention;
    let age_us = i64::try_from(retention.age.as_micros()).unwrap_or(i64::MAX);
    let expiry = Expiry {
        before_us: inner.clock.now_us().saturating_sub(age_us),
        keep: retention.count,
        batch: retention.batch.max(1),
    };
    for _ in 0..BATCHES {
        let gone = inner.store.write(move |desk| expiry::expire(desk, expiry)).await?;
        inner.metrics.note_expired(gone.len());
        for id in gone.iter().filter_map(|id| TaskId::parse(id)) {
            inner.remove_output(&id).await;
        }
        if gone.is_empty() {
            break;
        }
    }
    let forget = move |desk: &mut Desk<'_>| history::forget_volumes(desk, expiry.before_us);
    inner.store.write(forget).await
}

async fn look_at_volumes(inner: &Inner) -> Result<(), ServiceError> {
    let Some(volumes) = &inner.volumes else { return Ok(()) };
    let found = match tokio::time::timeout(inner.config.driver_call, volumes.usage()).await {
        Ok(Ok(found)) => found,
        Ok(Err(reason)) => {
            tracing::warn!(reason, "the volumes cannot be looked at");
            return Ok(());
        }
        Err(_) => {
            tracing::warn!("looking at the volumes takes too long");
            return Ok(());
        }
    };
    inner.metrics.note_volumes(found.clone());
    for volume in found {
        let now_us = inner.clock.now_us();
        let note =
            move |desk: &mut Desk<'_>| history::note_volume(desk, now_us, &volume.volume, volume.bytes, volume.inodes);
        inner.store.write(note).await?;
    }
    Ok(())
}
