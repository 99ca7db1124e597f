//! Submits a task to its driver under a ticket that was stored before: never twice, whatever fails in between.

use hybrid_cache_api::TaskId;
use std::sync::{Arc, Weak};

use hybrid_cache_driver::{DriverError, Epoch, Lifetime, LogReader, SubmitOptions, Ticket};
use hybrid_cache_model::{Failure, FailureKind, Tenant};
use tokio::time::{Instant, sleep, timeout};

use super::active_task::ActiveTask;
use super::inner::Inner;
use super::intent::Intent;
use super::stage::Stage;
use crate::error::ServiceError;
use crate::state::Event;
use crate::store::writer::WriteContext;
use crate::store::writes::{self, CancelRequest, Claimed};

/// Attempts to put a task back into the queue at shutdown.
const LAST_TRIES: u32 = 3;

/// The result of submitting a task.
pub enum SubmitResult {
    /// The driver has it under this ticket, with this log. The log is taken at once, so that the driver holds no more
    /// than a window of it.
    Accepted(Ticket, Result<LogReader, DriverError>),
    /// It can never run, because of the task itself or of the cluster.
    Failed(Failure),
    /// It was cancelled and never ran.
    Cancelled,
    /// It is back in the queue, or left for another process.
    Left,
}

/// The driver's answer to one attempt.
enum Attempt {
    Accepted(Ticket),
    Failed(Failure),
    /// The driver does not answer; the task may or may not have reached it.
    Down(String),
    /// The driver certainly did not start it. True if the driver answered.
    NotStarted(String, bool),
}

/// Submits a task, and retries while the driver does not answer.
pub async fn submit(inner: &Arc<Inner>, task: &Claimed, mut stage: Stage, active: &mut ActiveTask) -> SubmitResult {
    if stage == Stage::Submitted {
        return over(inner, task.ticket.clone());
    }
    loop {
        let asked = Instant::now();
        if active.intent() == Intent::Run && stage.is_forgotten() {
            // Do not submit the task again; wait on its ticket. If the task still runs, nothing is lost. If the driver
            // does not know it, it ends as failed.
            return started(inner, task, task.ticket.clone()).await;
        }
        match (active.intent(), stage) {
            (Intent::Cancel, Stage::Fresh) => return SubmitResult::Cancelled,
            (Intent::Shutdown, Stage::Fresh) => return postpone(inner, task, active, None).await,
            (Intent::Shutdown, _) => return SubmitResult::Left,
            (Intent::Cancel, _) => match timeout(inner.config.driver_call, inner.driver.cancel(&task.ticket)).await {
                Ok(Ok(())) => return started(inner, task, task.ticket.clone()).await,
                Ok(Err(DriverError::UnknownTicket(_))) => {
                    inner.circuit_breaker.record_success();
                    return SubmitResult::Cancelled;
                }
                Ok(Err(error)) => pause(inner, active, &error.to_string()).await,
                Err(_) => pause(inner, active, "the driver does not answer").await,
            },
            (Intent::Run, _) => match attempt(inner, task, stage).await {
                Attempt::Accepted(ticket) => {
                    inner.circuit_breaker.record_success();
                    return started(inner, task, ticket).await;
                }
                Attempt::Failed(failure) => {
                    inner.circuit_breaker.record_success();
                    return SubmitResult::Failed(failure);
                }
                Attempt::NotStarted(reason, answered) if stage == Stage::Fresh => {
                    match answered {
                        true => inner.circuit_breaker.record_refusal(&reason),
                        false => inner.circuit_breaker.record_failure(&reason),
                    };
                    return postpone(inner, task, active, Some(reason)).await;
                }
                // This attempt did not start it, but an earlier one may have.
                Attempt::NotStarted(reason, _) => pause(inner, active, &reason).await,
                Attempt::Down(reason) => {
                    if stage == Stage::Fresh {
                        stage = Stage::uncertain(inner, asked.elapsed());
                    }
                    pause(inner, active, &reason).await;
                }
            },
        }
    }
}

async fn attempt(inner: &Inner, task: &Claimed, stage: Stage) -> Attempt {
    let options = SubmitOptions {
        id: Some(task.ticket.id.clone()),
        first: stage == Stage::Fresh,
        epoch: Epoch::Standing,
        tenant: task.tenant.clone(),
        limits: inner.config.limits.clone(),
        prepare_ms: u64::try_from(inner.config.prepare.as_millis()).unwrap_or(u64::MAX),
    };
    let submitted = timeout(inner.config.driver_call, inner.driver.submit(&task.spec, &options)).await;
    let reason = match submitted {
        Ok(Ok(ticket)) => return Attempt::Accepted(ticket),
        Ok(Err(error)) => match classify(error) {
            Fault::Task(failure) => return Attempt::Failed(failure),
            Fault::NotStarted(failure) => {
                let answered = failure.kind == FailureKind::Unschedulable;
                return Attempt::NotStarted(failure.to_string(), answered);
            }
            Fault::Driver(reason) => reason,
        },
        Err(_) => format!(
            "the driver did not answer within {} s",
            inner.config.driver_call.as_secs()
        ),
    };
    tracing::warn!(task = %task.id, "the driver does not accept the task");
    // A driver within this process knows what it has started, whatever became of the call.
    match inner.driver.lifetime() {
        // Do not look for the task now: during an outage, that call would take as long as the outage.
        Lifetime::Independent => Attempt::Down(reason),
        Lifetime::WithProcess if inner.driver.logs(&task.ticket).is_ok() => Attempt::Accepted(task.ticket.clone()),
        Lifetime::WithProcess => Attempt::NotStarted(reason, false),
    }
}

enum Fault {
    /// Trying again would fail again.
    Task(Failure),
    /// It may pass; nothing was started.
    NotStarted(Failure),
    /// It may pass.
    Driver(String),
}

fn classify(error: DriverError) -> Fault {
    match error {
        DriverError::Invalid(errors) => Fault::Task(errors.into()),
        DriverError::NotStarted(failure) if is_passing(failure.kind) => Fault::NotStarted(failure),
        DriverError::NotStarted(failure) => Fault::Task(failure),
        DriverError::Failed(failure) if is_passing(failure.kind) => Fault::Driver(failure.to_string()),
        DriverError::Failed(failure) => Fault::Task(failure),
        error @ (DriverError::UnknownTicket(_) | DriverError::Io { .. }) => Fault::Driver(error.to_string()),
    }
}

fn is_passing(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Cluster | FailureKind::Offline | FailureKind::Deadline | FailureKind::Unschedulable
    )
}

/// Waits until the driver may be called again, or the intent changes.
async fn pause(inner: &Inner, active: &mut ActiveTask, reason: &str) {
    let pause = inner.circuit_breaker.record_failure(reason);
    inner.note_waiting(active, Some(reason)).await;
    tokio::select! {
        () = sleep(pause) => {}
        () = active.changed() => {}
    }
}

/// Stores that the driver has the task. If that fails, the next process finds the task by its ticket.
async fn started(inner: &Arc<Inner>, task: &Claimed, ticket: Ticket) -> SubmitResult {
    let over = over(inner, ticket.clone());
    match note_started(inner, &task.tenant, &task.id, &ticket).await {
        Ok(Some(CancelRequest::Pending)) => {}
        Ok(Some(CancelRequest::None)) => tracing::info!(task = %task.id, "running"),
        Ok(None) => tracing::error!(task = %task.id, "a task was started from a state that does not allow it"),
        Err(error) => {
            tracing::warn!(task = %task.id, %error, "cannot store yet that a task runs");
            let (tenant, id) = (task.tenant.clone(), task.id.clone());
            tokio::spawn(keep_started(Arc::downgrade(inner), tenant, id, ticket));
        }
    }
    over
}

/// Stores that the driver has the task, and applies a cancel that arrived meanwhile. `None` if the task's state does
/// not allow it, because it has ended for example.
async fn note_started(
    inner: &Inner,
    tenant: &Tenant,
    id: &TaskId,
    ticket: &Ticket,
) -> Result<Option<CancelRequest>, ServiceError> {
    let (owner, wanted, now_us) = (tenant.clone(), id.clone(), inner.clock.now_us());
    let event = Event::Start { ticket: ticket.clone() };
    let advance =
        move |context: &mut WriteContext<'_>| writes::advance(context, (&owner, &wanted), event.clone(), None, now_us);
    let asked = inner.store.write(advance).await?;
    if asked == Some(CancelRequest::Pending) {
        inner.set_intent(id, Intent::Cancel);
    }
    Ok(asked)
}

/// Retries to store that the driver has the task, until that succeeds, the task has ended, or the service has.
async fn keep_started(inner: Weak<Inner>, tenant: Tenant, id: TaskId, ticket: Ticket) {
    let mut failures = 0;
    while let Some(inner) = inner.upgrade() {
        if note_started(&inner, &tenant, &id, &ticket).await.is_ok() {
            return;
        }
        failures += 1;
        let pause = inner.config.backoff.pause(failures);
        drop(inner);
        sleep(pause).await;
    }
}

fn over(inner: &Inner, ticket: Ticket) -> SubmitResult {
    let log = inner.driver.take_log(&ticket);
    SubmitResult::Accepted(ticket, log)
}

/// Puts a task back into its place in the queue, and retries while the disk is full or the database locked: no other
/// code would run it.
async fn postpone(inner: &Inner, task: &Claimed, active: &ActiveTask, reason: Option<String>) -> SubmitResult {
    let mut failures = 0;
    loop {
        let (tenant, id, now_us) = (task.tenant.clone(), task.id.clone(), inner.clock.now_us());
        let reason = reason.clone();
        let back = move |context: &mut WriteContext<'_>| {
            writes::advance(context, (&tenant, &id), Event::Postpone, reason.as_deref(), now_us)
        };
        match inner.store.write_certainly(back).await {
            // A client cancelled it at this very moment, and nothing was started.
            Ok(Some(CancelRequest::Pending)) => {
                let (tenant, id, now_us) = (task.tenant.clone(), task.id.clone(), inner.clock.now_us());
                let cancel = move |context: &mut WriteContext<'_>| writes::cancel(context, (&tenant, &id), now_us);
                if let Err(error) = inner.store.write(cancel).await {
                    tracing::error!(task = %task.id, %error, "cannot store that a task is cancelled");
                }
                inner.outputs.live.close(&task.id);
                return SubmitResult::Left;
            }
            Ok(_) => return SubmitResult::Left,
            Err(error) => {
                failures += 1;
                tracing::error!(task = %task.id, %error, "cannot store yet that a task is queued again");
                if active.intent() == Intent::Shutdown && failures >= LAST_TRIES {
                    return SubmitResult::Left;
                }
                sleep(inner.config.backoff.pause(failures)).await;
            }
        }
    }
}
