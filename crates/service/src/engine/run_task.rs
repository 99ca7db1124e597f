//! Carrying one task through its driver: handing it over, keeping what it prints, waiting for its end, keeping that.

use hybrid_cache_api::TaskId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hybrid_cache_driver::{DriverError, Lifetime, Room, Ticket};
use hybrid_cache_model::outcome::{CacheReport, Output, Resolved};
use hybrid_cache_model::{CacheStatus, End, Failure, FailureKind, Outcome, Tenant, Timeline};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout};

use super::Inner;
use super::pump::{self, Sight};
use super::submit::{Handed, hand_over};
use crate::state::Event;
use crate::store::writer::Desk;
use crate::store::writes::{self, Asked, Claimed};

/// How long a driver may take to end a task that the service takes down with it.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// What is wished of a task that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That it goes on.
    None,
    /// That it ends: somebody asked.
    Cancel,
    /// That it is let go of, or ended where it cannot live alone: the service ends.
    Leave,
}

/// How far a task had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The driver has never heard of it.
    Fresh,
    /// The driver may have heard of it, in this process or an earlier one.
    Uncertain {
        /// When it may have run and been forgotten; never where absent.
        until: Option<Instant>,
    },
    /// The driver has it.
    Submitted,
}

impl Stage {
    /// The driver may have heard of the task so long ago, and has not since.
    pub fn uncertain(inner: &Inner, age: Duration) -> Stage {
        // A call that is under way may still be answered by what is forgotten meanwhile.
        let safe = inner.driver.remembers().saturating_sub(inner.config.driver_call * 2);
        Stage::Uncertain {
            until: Instant::now().checked_add(safe.saturating_sub(age)),
        }
    }

    /// True where submitting the task again might run it twice.
    pub fn is_forgotten(self) -> bool {
        matches!(self, Stage::Uncertain { until: Some(until) } if Instant::now() >= until)
    }
}

/// One task's place among those that are under way, given up when dropped.
pub struct Carried {
    inner: Arc<Inner>,
    tenant: Tenant,
    id: TaskId,
    wish: watch::Receiver<Wish>,
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.inner.under_way().remove(&self.id);
        self.inner.carried.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Carried {
    /// What is wished at the moment.
    pub fn wish(&self) -> Wish {
        *self.wish.borrow()
    }

    /// Waits until something else is wished than before.
    pub async fn changed(&mut self) {
        if self.wish.changed().await.is_err() {
            // The sender is in the map for as long as this.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for one wish.
    pub async fn wished(&self, wish: Wish) {
        let mut wishes = self.wish.clone();
        if wishes.wait_for(|now| *now == wish).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Inner {
    /// Enters a task among those under way.
    pub fn enter(self: &Arc<Inner>, tenant: &Tenant, id: &TaskId, wish: Wish) -> Carried {
        let sender = watch::Sender::new(wish);
        let wish = sender.subscribe();
        self.under_way().insert(id.clone(), sender);
        self.carried.send_modify(|count| *count += 1);
        Carried {
            inner: Arc::clone(self),
            tenant: tenant.clone(),
            id: id.clone(),
            wish,
        }
    }

    /// Wishes something of a task that is under way. That the service ends is the last wish.
    pub fn wish(&self, id: &TaskId, wish: Wish) {
        if let Some(sender) = self.under_way().get(id) {
            sender.send_if_modified(|now| {
                let changes = *now != wish && *now != Wish::Leave;
                if changes {
                    *now = wish;
                }
                changes
            });
        }
    }

    /// Keeps how a task ended, trying again for as long as the disk is full or locked. False where the service ends first.
    pub async fn keep_end(&self, carried: &Carried, event: Event, outcome: Option<&Outcome>) -> bool {
        let id = &carried.id;
        let mut failures = 0;
        loop {
            let (tenant, wanted, now_us) = (carried.tenant.clone(), id.clone(), self.clock.now_us());
            let (event, kept) = (event.clone(), outcome.cloned());
            let end =
                move |desk: &mut Desk<'_>| writes::end(desk, (&tenant, &wanted), event.clone(), kept.as_ref(), now_us);
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
                    tracing::error!(task = %id, %error, "a task's end cannot be kept yet");
                    tokio::select! {
                        () = sleep(self.config.backoff.pause(failures)) => {}
                        () = carried.wished(Wish::Leave) => return false,
                    }
                }
            }
        }
    }

    /// Notes why a task waits. What cannot be noted is no reason to stop.
    pub async fn note_waiting(&self, carried: &Carried, reason: Option<&str>) {
        let (id, reason) = (carried.id.clone(), reason.map(str::to_owned));
        let written = self
            .store
            .write(move |desk| writes::explain(desk, &id, reason.as_deref()))
            .await;
        if let Ok(Asked::ToCancel) = written {
            self.wish(&carried.id, Wish::Cancel);
        }
    }
}

/// Carries a task as far as it goes.
pub async fn run(
    inner: Arc<Inner>,
    task: Claimed,
    stage: Stage,
    (permit, room): (Option<OwnedSemaphorePermit>, Room),
    mut carried: Carried,
) {
    let mut stage = stage;
    match (&task.unlike, stage) {
        (Some(reason), Stage::Fresh) => {
            let failure = Failure::new(FailureKind::InvalidTask, reason.clone());
            let hint = "submit it again as this version of the service accepts it, or start the newer one";
            let outcome = failed(failure.hint(hint));
            inner.keep_end(&carried, Event::End, Some(&outcome)).await;
            return;
        }
        // It may be at work as it was submitted; it is only looked for.
        (Some(_), Stage::Uncertain { .. }) => {
            stage = Stage::Uncertain {
                until: Some(Instant::now()),
            };
        }
        _ => {}
    }
    let (ticket, log) = match hand_over(&inner, &task, stage, &mut carried).await {
        Handed::Over(ticket, log) => (ticket, log),
        Handed::Failed(failure) => {
            let outcome = failed(failure);
            inner.keep_end(&carried, Event::End, Some(&outcome)).await;
            return;
        }
        Handed::Cancelled => {
            inner.keep_end(&carried, Event::Cancel, None).await;
            return;
        }
        Handed::Left => return,
    };
    // From here on its driver counts it.
    drop(room);
    let sight = watch::Sender::new(Sight::default());
    let source = pump::Source {
        id: task.id.clone(),
        ticket: ticket.clone(),
        log,
        again: stage != Stage::Fresh,
    };
    let pump = pump::start(&inner, source, sight.subscribe());
    let Some(mut outcome) = until_end(&inner, &ticket, &carried, &sight).await else {
        // Another process takes it up, and reads its output from the beginning again.
        pump.abort();
        tracing::info!(task = %task.id, "left to go on by itself");
        return;
    };
    outcome.warnings.extend(pump::finish(&inner, pump, &sight).await);
    let event = match outcome.end {
        End::Cancelled => Event::Cancel,
        _ => Event::End,
    };
    if inner.keep_end(&carried, event, Some(&outcome)).await {
        tokio::select! {
            () = settle(&inner, &task.id, &ticket, &outcome) => {}
            // What is known is kept; publishing goes on, or ends with this process.
            () = carried.wished(Wish::Leave) => {}
        }
        inner.driver.forget(&ticket);
    }
    // Publishing belongs to the task: the place is free once that is done too.
    drop(permit);
}

fn cancelled() -> Outcome {
    Outcome {
        end: End::Cancelled,
        ..failed(Failure::new(FailureKind::Evicted, ""))
    }
}

/// An outcome for a task that never came to one of its own.
pub fn failed(failure: Failure) -> Outcome {
    Outcome {
        end: End::Failed { failure },
        cache: CacheReport {
            python: CacheStatus::NotAsked,
            system: CacheStatus::NotAsked,
        },
        timeline: Timeline::default(),
        runner_us: 0,
        stdout: Output::default(),
        stderr: Output::default(),
        resolved: Resolved::default(),
        warnings: Vec::new(),
        not_kept: None,
    }
}

/// Waits for a task's end; `None` where it is to be left to go on by itself.
async fn until_end(
    inner: &Arc<Inner>,
    ticket: &Ticket,
    carried: &Carried,
    sight: &watch::Sender<Sight>,
) -> Option<Outcome> {
    let limits = Duration::from_millis(inner.config.limits.time_ms) + inner.config.prepare;
    tokio::select! {
        outcome = ask_for_outcome(inner, ticket, carried, sight) => Some(outcome),
        () = pursue_cancel(inner, ticket, carried, sight.subscribe()) => None,
        () = carried.wished(Wish::Leave) => match inner.driver.lifetime() {
            Lifetime::Independent => None,
            Lifetime::WithProcess => Some(take_down(inner, ticket).await),
        },
        () = seen_for(inner, ticket, limits + inner.config.overdue) => {
            // It may have ended by the time it is asked.
            let _ = timeout(inner.config.driver_call, inner.driver.cancel(ticket)).await;
            let message = "the driver told nothing of the task's end long after its time limit".to_owned();
            Some(failed(Failure::new(FailureKind::Deadline, message)))
        }
    }
}

/// Waits for so long as the driver can see its tasks and this one has a place among them.
async fn seen_for(inner: &Inner, ticket: &Ticket, limit: Duration) {
    let (began, before) = (Instant::now(), inner.driver.unseen());
    loop {
        let unseen = inner.driver.unseen().saturating_sub(before);
        let seen = began
            .elapsed()
            .saturating_sub(unseen)
            .saturating_sub(inner.driver.waited(ticket));
        match limit.checked_sub(seen) {
            Some(left) if !left.is_zero() => sleep(left).await,
            _ => return,
        }
    }
}

/// Asks until the driver tells of the end.
async fn ask_for_outcome(inner: &Inner, ticket: &Ticket, carried: &Carried, sight: &watch::Sender<Sight>) -> Outcome {
    let mut failures = 0;
    loop {
        let told = async {
            let mut waiting = std::pin::pin!(inner.driver.wait(ticket));
            // One that does not answer says so within this time, so this one is at work.
            let in_time = timeout(inner.config.driver_call, &mut waiting).await;
            match in_time {
                Ok(told) => told,
                Err(_) if failures == 0 => waiting.await,
                Err(_) => {
                    inner.note_waiting(carried, None).await;
                    waiting.await
                }
            }
        };
        match told.await {
            Ok(outcome) => {
                inner.gate.open();
                return outcome;
            }
            // It is gone, and that was what somebody wanted.
            Err(DriverError::UnknownTicket(_)) if carried.wish() == Wish::Cancel => return cancelled(),
            Err(DriverError::UnknownTicket(_)) => {
                let message = "the driver knows the task no more: it has run and forgotten it, somebody deleted it, or its node was lost";
                return failed(Failure::new(FailureKind::Evicted, message).hint("submit it again"));
            }
            Err(error) => {
                failures += 1;
                sight.send_modify(|sight| sight.lost += 1);
                tracing::warn!(task = %carried.id, "the driver does not answer");
                inner.note_waiting(carried, Some(&error.to_string())).await;
                sleep(inner.config.backoff.pause(failures)).await;
            }
        }
    }
}

/// Asks the driver to end the task once somebody wishes it, until it has heard, and again whenever it has lost sight of the
/// task since. Never returns: the end is told by waiting.
async fn pursue_cancel(inner: &Inner, ticket: &Ticket, carried: &Carried, mut sight: watch::Receiver<Sight>) {
    carried.wished(Wish::Cancel).await;
    let mut failures = 0;
    loop {
        let lost = sight.borrow_and_update().lost;
        let asked = timeout(inner.config.driver_call, inner.driver.cancel(ticket)).await;
        if let Ok(Ok(()) | Err(DriverError::UnknownTicket(_))) = asked {
            if sight.wait_for(|sight| sight.lost > lost).await.is_err() {
                std::future::pending::<()>().await;
            }
            continue;
        }
        failures += 1;
        sleep(inner.config.backoff.pause(failures)).await;
    }
}

/// Ends a task that cannot outlive this process.
async fn take_down(inner: &Inner, ticket: &Ticket) -> Outcome {
    let stopped = || {
        let message = "the service was stopped while the task ran";
        Failure::new(FailureKind::Evicted, message).hint("submit it again")
    };
    // Where it cannot be asked, the process's end ends it.
    let _ = timeout(LAST_WAIT, inner.driver.cancel(ticket)).await;
    match timeout(LAST_WAIT, inner.driver.wait(ticket)).await {
        Ok(Ok(outcome)) if outcome.end == End::Cancelled => Outcome {
            end: End::Failed { failure: stopped() },
            ..outcome
        },
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) | Err(_) => failed(stopped()),
    }
}

/// Puts what the driver learns after the end (the rest of publishing) into the outcome.
async fn settle(inner: &Inner, id: &TaskId, ticket: &Ticket, known: &Outcome) {
    let limit = inner.config.prepare + inner.config.overdue;
    let Ok(Ok(mut settled)) = timeout(limit, inner.driver.settle(ticket)).await else {
        return;
    };
    // The end that was told stays; what was said of the output is the service's own.
    settled.end = known.end.clone();
    let said = known.warnings.iter().filter(|said| !settled.warnings.contains(said));
    let said: Vec<String> = said.cloned().collect();
    settled.warnings.extend(said);
    if settled == *known {
        return;
    }
    let (wanted, settled) = (id.clone(), settled);
    if let Err(error) = inner
        .store
        .write(move |desk| writes::amend(desk, &wanted, &settled))
        .await
    {
        tracing::warn!(task = %id, %error, "what came after a task's end cannot be kept");
    }
}
