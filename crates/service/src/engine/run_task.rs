//! Runs one task: submits it to the driver, stores its output, waits for its end, and stores that.

use hybrid_cache_api::TaskId;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::{DriverError, Lifetime, Room, Ticket};
use hybrid_cache_model::{End, Failure, FailureKind, Outcome};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout};

use super::active_task::ActiveTask;
use super::inner::Inner;
use super::intent::Intent;
use super::pump::{self, WaitState};
use super::stage::Stage;
use super::submit::{SubmitResult, submit};
use crate::state::Event;
use crate::store::writes::{self, Claimed};

/// How long a driver may take to end a task at shutdown.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Runs a task to its end, or until the service shuts down.
pub async fn run(
    inner: Arc<Inner>,
    task: Claimed,
    stage: Stage,
    (permit, room): (Option<OwnedSemaphorePermit>, Room),
    mut active: ActiveTask,
) {
    let mut stage = stage;
    match (&task.unlike, stage) {
        (Some(reason), Stage::Fresh) => {
            let failure = Failure::new(FailureKind::InvalidTask, reason.clone());
            let hint = "submit it again in a form that this version of the service accepts, or start the newer version";
            let outcome = Outcome::without_start(failure.hint(hint));
            inner.keep_end(&active, Event::End, Some(&outcome)).await;
            return;
        }
        // It may run as it was submitted, so only wait for it.
        (Some(_), Stage::Uncertain { .. }) => {
            stage = Stage::Uncertain {
                until: Some(Instant::now()),
            };
        }
        _ => {}
    }
    let (ticket, log) = match submit(&inner, &task, stage, &mut active).await {
        SubmitResult::Accepted(ticket, log) => (ticket, log),
        SubmitResult::Failed(failure) => {
            let outcome = Outcome::without_start(failure);
            inner.keep_end(&active, Event::End, Some(&outcome)).await;
            return;
        }
        SubmitResult::Cancelled => {
            inner.keep_end(&active, Event::Cancel, None).await;
            return;
        }
        SubmitResult::Left => return,
    };
    // From here on the driver counts it.
    drop(room);
    let wait_state = watch::Sender::new(WaitState::default());
    let source = pump::Source {
        id: task.id.clone(),
        ticket: ticket.clone(),
        log,
        again: stage != Stage::Fresh,
    };
    let pump = pump::start(&inner, source, wait_state.subscribe());
    let Some(mut outcome) = until_end(&inner, &ticket, &active, &wait_state).await else {
        // Another process adopts it, and reads its output again from the beginning.
        pump.abort();
        tracing::info!(task = %task.id, "left running");
        return;
    };
    outcome.warnings.extend(pump::finish(&inner, pump, &wait_state).await);
    let event = match outcome.end {
        End::Cancelled => Event::Cancel,
        _ => Event::End,
    };
    if inner.keep_end(&active, event, Some(&outcome)).await {
        tokio::select! {
            () = settle(&inner, &task.id, &ticket, &outcome) => {}
            // The outcome is stored. Publishing goes on, or ends with this process.
            () = active.wait_for_intent(Intent::Shutdown) => {}
        }
        inner.driver.forget(&ticket);
    }
    // Publishing belongs to the task, so its slot is free only after that.
    drop(permit);
}

fn cancelled() -> Outcome {
    Outcome {
        end: End::Cancelled,
        ..Outcome::without_start(Failure::new(FailureKind::Evicted, ""))
    }
}

/// Waits for a task's end; `None` if it is to go on without this process.
async fn until_end(
    inner: &Arc<Inner>,
    ticket: &Ticket,
    active: &ActiveTask,
    wait_state: &watch::Sender<WaitState>,
) -> Option<Outcome> {
    let limits = Duration::from_millis(inner.config.limits.time_ms) + inner.config.prepare;
    tokio::select! {
        outcome = ask_for_outcome(inner, ticket, active, wait_state) => Some(outcome),
        () = pursue_cancel(inner, ticket, active, wait_state.subscribe()) => None,
        () = active.wait_for_intent(Intent::Shutdown) => match inner.driver.lifetime() {
            Lifetime::Independent => None,
            Lifetime::WithProcess => Some(take_down(inner, ticket).await),
        },
        () = seen_for(inner, ticket, limits + inner.config.overdue) => {
            // It may have ended when this call arrives.
            let _ = timeout(inner.config.driver_call, inner.driver.cancel(ticket)).await;
            let message = "the driver did not report the task's end long after its time limit".to_owned();
            Some(Outcome::without_start(Failure::new(FailureKind::Deadline, message)))
        }
    }
}

/// Waits until a task has run for `limit`. Time in which the driver cannot see its tasks, or this one has no room, does
/// not count.
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

/// Asks until the driver reports the end.
async fn ask_for_outcome(
    inner: &Inner,
    ticket: &Ticket,
    active: &ActiveTask,
    wait_state: &watch::Sender<WaitState>,
) -> Outcome {
    let mut failures = 0;
    loop {
        let waited = async {
            let mut waiting = std::pin::pin!(inner.driver.wait(ticket));
            // A driver that is down says so within this time, so after it the task runs.
            let in_time = timeout(inner.config.driver_call, &mut waiting).await;
            match in_time {
                Ok(outcome) => outcome,
                Err(_) if failures == 0 => waiting.await,
                Err(_) => {
                    inner.note_waiting(active, None).await;
                    waiting.await
                }
            }
        };
        match waited.await {
            Ok(outcome) => {
                inner.circuit_breaker.record_success();
                return outcome;
            }
            // The task is gone, as the client wanted.
            Err(DriverError::UnknownTicket(_)) if active.intent() == Intent::Cancel => return cancelled(),
            Err(DriverError::UnknownTicket(_)) => {
                let message = "the driver no longer knows the task: its record expired after it ended, someone deleted it, or its node was lost";
                return Outcome::without_start(Failure::new(FailureKind::Evicted, message).hint("submit it again"));
            }
            Err(error) => {
                failures += 1;
                wait_state.send_modify(|wait_state| wait_state.lost += 1);
                tracing::warn!(task = %active.id, "the driver does not answer");
                inner.note_waiting(active, Some(&error.to_string())).await;
                sleep(inner.config.backoff.pause(failures)).await;
            }
        }
    }
}

/// Cancels the task at the driver once a client has cancelled it, until the driver has answered, and again after each
/// lost connection. Never returns: waiting reports the end.
async fn pursue_cancel(
    inner: &Inner,
    ticket: &Ticket,
    active: &ActiveTask,
    mut wait_state: watch::Receiver<WaitState>,
) {
    active.wait_for_intent(Intent::Cancel).await;
    let mut failures = 0;
    loop {
        let lost = wait_state.borrow_and_update().lost;
        let asked = timeout(inner.config.driver_call, inner.driver.cancel(ticket)).await;
        if let Ok(Ok(()) | Err(DriverError::UnknownTicket(_))) = asked {
            if wait_state.wait_for(|wait_state| wait_state.lost > lost).await.is_err() {
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
    // If the driver does not answer, the task ends with the process.
    let _ = timeout(LAST_WAIT, inner.driver.cancel(ticket)).await;
    match timeout(LAST_WAIT, inner.driver.wait(ticket)).await {
        Ok(Ok(outcome)) if outcome.end == End::Cancelled => Outcome {
            end: End::Failed { failure: stopped() },
            ..outcome
        },
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) | Err(_) => Outcome::without_start(stopped()),
    }
}

/// Adds what the driver learns after the end (the rest of publishing) to the outcome.
async fn settle(inner: &Inner, id: &TaskId, ticket: &Ticket, known: &Outcome) {
    let limit = inner.config.prepare + inner.config.overdue;
    let Ok(Ok(mut settled)) = timeout(limit, inner.driver.settle(ticket)).await else {
        return;
    };
    // The reported end stays, and so do the service's own warnings about the output.
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
        .write(move |context| writes::amend(context, &wanted, &settled))
        .await
    {
        tracing::warn!(task = %id, %error, "an amended outcome cannot be stored");
    }
}
