//! Deletes old tasks and leftover output, keeps the volume within its budget, and records what the cache volumes hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::inner::{Closing, Inner};
use crate::error::ServiceError;
use crate::metrics::{self, Footprint};
use crate::store::expiry::{self, Expiry};
use crate::store::history;
use crate::store::rows;
use crate::store::writer::WriteContext;

/// Most batches of one run, so that a clock that jumps does not delete everything at once.
const BATCHES: usize = 100;
/// How long saved tasks are kept at least, even if there are too many of them.
pub const CROWDED: Duration = Duration::from_secs(3600);
/// Output beyond the budget that starts a run ahead of time.
const SOON_BYTES: u64 = 64 << 20;
/// The default budget is one part in this many of the volume.
const SHARE: u64 = 10;

/// Time between two searches for output without a task, unless some is known.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// A clock that is this much ahead of the expected time was set forward.
const SET_AHEAD: Duration = Duration::from_secs(600);
/// After the clock was set forward, nothing is deleted by age for this many runs.
const DOUBTED_LOOKS: u32 = 60;

/// Whether the time of day can be trusted. A clock that was set forward makes everything old at once; if that was a
/// mistake, an operator has time to correct it.
#[derive(Default)]
struct Calendar {
    last: Option<(i64, Instant)>,
    doubted_until: Option<Instant>,
}

impl Calendar {
    /// True if tasks may be deleted by age at this time.
    fn is_believed(&mut self, now_us: i64, every: Duration) -> bool {
        let now = Instant::now();
        if let Some((last_us, last)) = self.last {
            let most_us = |more: Duration| i64::try_from((now - last + more).as_micros()).unwrap_or(i64::MAX);
            let passed_us = now_us.saturating_sub(last_us);
            if passed_us > most_us(SET_AHEAD) {
                tracing::warn!("the clock was set forward: for a while nothing is deleted by age");
                self.doubted_until = now.checked_add(every.saturating_mul(DOUBTED_LOOKS));
            } else if passed_us < 0 {
                self.doubted_until = None;
            }
        }
        self.last = Some((now_us, now));
        self.doubted_until.is_none_or(|until| now >= until)
    }
}

/// Runs until the service shuts down.
pub async fn run(inner: Arc<Inner>) {
    let mut closing = inner.closing.subscribe();
    tokio::select! {
        // An error means that the service is gone.
        _ = closing.wait_for(|closing| *closing != Closing::No) => {}
        () = look_forever(&inner) => {}
    }
}

async fn look_forever(inner: &Inner) {
    sweep_or_say(inner).await;
    let mut swept = Instant::now();
    let mut calendar = Calendar::default();
    let every = inner.config.retention.every;
    let mut ticks = interval_at(Instant::now(), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = inner.crowded.notified() => {}
        }
        let is_left = inner.left_output.swap(false, Ordering::Relaxed);
        if is_left || swept.elapsed() >= SWEEP_EVERY {
            sweep_or_say(inner).await;
            swept = Instant::now();
        }
        let by_age = calendar.is_believed(inner.clock.now_us(), every);
        if let Err(error) = expire(inner, by_age).await {
            tracing::warn!(%error, "old tasks cannot be deleted");
        }
        if let Some(reason) = inner.driver.trace_warning() {
            tracing::warn!(reason, "requests are not recorded");
        }
        if let Err(error) = look_at_volumes(inner).await {
            tracing::warn!(%error, "what the volumes hold cannot be stored");
        }
    }
}

async fn sweep_or_say(inner: &Inner) {
    if let Err(error) = sweep(inner).await {
        tracing::warn!(%error, "leftover output cannot be searched");
    }
}

/// Deletes output without a task: the process was killed between the two deletions, or the disk refused one.
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

/// Deletes what is too much or too large and, if `by_age`, what is too old.
async fn expire(inner: &Inner, by_age: bool) -> Result<(), ServiceError> {
    let retention = &inner.config.retention;
    let now_us = inner.clock.now_us();
    stamp_anew(inner, now_us).await?;
    let before = |age: Duration| now_us.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let forgotten = Expiry::Forgotten {
        before_us: before(retention.saved),
        crowded_us: before(retention.saved.min(CROWDED)),
        crowd: inner.config.open_tasks / 2,
        crowd_bytes: inner.saved_limit_bytes().unwrap_or(u64::MAX) / 2,
    };
    let old = Expiry::Old(before(retention.age));
    let many = Expiry::Many(retention.count);
    let all = if by_age { vec![old, many, forgotten] } else { vec![many] };
    for expiry in all {
        for _ in 0..BATCHES {
            if let_go(inner, expiry.clone()).await? == 0 {
                break;
            }
        }
    }
    fit(inner, by_age).await?;
    give_back(inner).await?;
    if !by_age {
        return Ok(());
    }
    let old_us = before(retention.age);
    let forget = move |context: &mut WriteContext<'_>| history::forget_volumes(context, old_us);
    inner.store.write(forget).await
}

/// Corrects the times of saved tasks that lie ahead of a clock that was set back, so that they can grow old.
async fn stamp_anew(inner: &Inner, now_us: i64) -> Result<(), ServiceError> {
    let batch = inner.config.retention.batch.max(1);
    for _ in 0..BATCHES {
        let stamp = move |context: &mut WriteContext<'_>| expiry::stamp_anew(context, now_us, batch);
        if inner.store.write(stamp).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Deletes a batch of tasks with their output. Returns how many.
async fn let_go(inner: &Inner, expiry: Expiry) -> Result<usize, ServiceError> {
    let batch = inner.config.retention.batch.max(1);
    let gone = inner
        .store
        .write(move |context| expiry::expire(context, &expiry, batch))
        .await?;
    inner.metrics.note_expired(gone.len());
    for id in &gone {
        inner.outputs.live.close(id);
        inner.remove_output(id).await;
    }
    Ok(gone.len())
}

/// Deletes tasks until output and database fit their budget.
async fn fit(inner: &Inner, by_age: bool) -> Result<(), ServiceError> {
    let Some(budget) = budget(inner) else { return Ok(()) };
    for _ in 0..BATCHES {
        let used = inner.outputs.files.bytes() + inner.store.read(expiry::pages).await?.used_bytes;
        let over = used.saturating_sub(budget);
        let soon = inner.outputs.files.bytes() + budget.saturating_sub(used).max(SOON_BYTES);
        inner.crowded_at.store(soon, Ordering::Relaxed);
        if over == 0 {
            return Ok(());
        }
        let gone = match inner.store.read(expiry::heaviest).await? {
            Some((tenant, bytes)) => let_go(inner, Expiry::Large(tenant, over.min(bytes))).await?,
            None if by_age => let_go(inner, crowded_out(inner)).await?,
            None => 0,
        };
        if gone == 0 {
            tracing::warn!(
                used,
                budget,
                "tasks that may not be deleted hold more than the budget for output and database"
            );
            return Ok(());
        }
    }
    Ok(())
}

/// Saved tasks that no client has run for one hour.
fn crowded_out(inner: &Inner) -> Expiry {
    let age_us = i64::try_from(CROWDED.as_micros()).unwrap_or(i64::MAX);
    let before_us = inner.clock.now_us().saturating_sub(age_us);
    Expiry::Forgotten {
        before_us,
        crowded_us: before_us,
        crowd: 0,
        crowd_bytes: u64::MAX,
    }
}

/// The budget for output and database in bytes; `None` if the volume does not report its size.
fn budget(inner: &Inner) -> Option<u64> {
    let of_volume = || {
        let volume = rustix::fs::statvfs(&inner.config.folder).ok()?;
        Some(volume.f_blocks.saturating_mul(volume.f_frsize) / SHARE)
    };
    inner.config.retention.bytes.or_else(of_volume)
}

impl Inner {
    /// Bytes that saved tasks may take. They cannot be deleted for one hour, and must leave room for the output of
    /// ended tasks.
    pub(super) fn saved_limit_bytes(&self) -> Option<u64> {
        Some(budget(self)? / 2)
    }

    /// What the service itself takes, without reading a row.
    pub(super) fn footprint(&self) -> Footprint {
        let path = self.store.path();
        let [database_bytes, wal_bytes, index_bytes] = ["", "-wal", "-shm"].map(|suffix| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            std::fs::metadata(name).map_or(0, |file| file.len())
        });
        Footprint {
            resident_bytes: metrics::resident_bytes(),
            output_bytes: self.outputs.files.bytes(),
            database_bytes,
            log_bytes: wal_bytes + index_bytes,
            budget_bytes: budget(self),
        }
    }
}

/// Returns pages that deletions have freed to the file system, so that the database's file shrinks.
async fn give_back(inner: &Inner) -> Result<(), ServiceError> {
    for _ in 0..BATCHES {
        if !inner.store.read(expiry::pages).await?.surplus {
            break;
        }
        inner.store.write(expiry::give_back).await?;
    }
    Ok(())
}

async fn look_at_volumes(inner: &Inner) -> Result<(), ServiceError> {
    let Some(volumes) = &inner.volumes else { return Ok(()) };
    let found = match tokio::time::timeout(inner.config.driver_call, volumes.usage()).await {
        Ok(Ok(found)) => found,
        Ok(Err(reason)) => {
            tracing::warn!(reason, "the volumes cannot be measured");
            return Ok(());
        }
        Err(_) => {
            tracing::warn!("measuring the volumes takes too long");
            return Ok(());
        }
    };
    inner.metrics.note_volumes(found.clone());
    for volume in found {
        let now_us = inner.clock.now_us();
        let note = move |context: &mut WriteContext<'_>| {
            history::note_volume(context, now_us, &volume.volume, volume.bytes, volume.inodes)
        };
        inner.store.write(note).await?;
    }
    Ok(())
}
