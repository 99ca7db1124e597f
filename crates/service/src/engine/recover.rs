//! Adopts the tasks that an earlier process left active: none is lost, and none runs twice.
//!
//! | state | tasks outlive the process (Kubernetes) | tasks end with the process (local) |
//! |---|---|---|
//! | queued | stays queued | stays queued |
//! | starting | submitted again under the same ticket, which finds the existing task, as long as the driver would
//! remember it; after that only awaited | ended as failed: it may have run |
//! | running | awaited by its ticket | ended as failed: it died with the process |

use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::{Lifetime, Room, Ticket};
use hybrid_cache_model::{Failure, FailureKind, Outcome};

use super::inner::Inner;
use super::intent::Intent;
use super::run_task;
use super::stage::Stage;
use crate::error::ServiceError;
use crate::state::{Event, State};
use crate::store::rows::{self, Stored};
use crate::store::writer::WriteContext;
use crate::store::writes::{self, Claimed};

/// What to do with one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plan {
    Carry(Ticket, Stage),
    GiveUp(&'static str),
}

/// Adopts every task that an earlier process left active.
pub async fn adopt_tasks(inner: &Arc<Inner>) -> Result<(), ServiceError> {
    for (left, cancel_requested) in inner.store.read_all(rows::left_under_way).await? {
        let (tenant, id) = (left.tenant.clone(), left.summary.id.clone());
        let intent = if cancel_requested { Intent::Cancel } else { Intent::Run };
        match plan(inner, &left) {
            Plan::Carry(ticket, stage) => {
                tracing::info!(task = %id, state = left.state.stored(), "adopted");
                let claimed = Claimed {
                    tenant: tenant.clone(),
                    id: id.clone(),
                    ticket,
                    spec: left.spec,
                    unlike: left.unlike,
                };
                // A running task keeps running even if fewer slots are configured now.
                let permit = Arc::clone(&inner.slots).try_acquire_owned().ok();
                let active = inner.enter(&tenant, &id, intent);
                tokio::spawn(run_task::run(
                    Arc::clone(inner),
                    claimed,
                    stage,
                    (permit, Room::default()),
                    active,
                ));
            }
            Plan::GiveUp(message) => {
                tracing::warn!(task = %id, state = left.state.stored(), "cannot be adopted");
                let outcome =
                    Outcome::without_start(Failure::new(FailureKind::Evicted, message).hint("submit it again"));
                // The client that cancelled it gets what it wanted.
                let event = if cancel_requested { Event::Cancel } else { Event::End };
                let (now_us, kept) = (inner.clock.now_us(), outcome.clone());
                let (owner, wanted, wished) = (tenant.clone(), id.clone(), event.clone());
                let end = move |context: &mut WriteContext<'_>| {
                    writes::end(context, (&owner, &wanted), wished.clone(), Some(&kept), now_us)
                };
                match inner.store.write(end).await {
                    Ok(_) => inner.metrics.note_end(&outcome),
                    Err(error) => {
                        // A full disk must not prevent the start: housekeeping makes room once the service runs.
                        tracing::error!(task = %id, %error, "a task's end cannot be stored yet");
                        let (inner, active) = (Arc::clone(inner), inner.enter(&tenant, &id, intent));
                        tokio::spawn(async move { inner.keep_end(&active, event, Some(&outcome)).await });
                    }
                }
            }
        }
    }
    Ok(())
}

fn plan(inner: &Inner, left: &Stored) -> Plan {
    let (ticket, stage) = match &left.state {
        State::Starting { ticket } => (ticket.clone(), uncertain(inner, left)),
        State::Running { ticket } => (ticket.clone(), Stage::Submitted),
        _ => return Plan::GiveUp("it was not active"),
    };
    if !inner.driver.knows(&ticket) {
        return Plan::GiveUp("another driver had the task before the service was restarted with this one");
    }
    match (inner.driver.lifetime(), stage) {
        (Lifetime::WithProcess, Stage::Submitted) => Plan::GiveUp("the service stopped while the task ran"),
        (Lifetime::WithProcess, _) => Plan::GiveUp("the service stopped while it started the task, which may have run"),
        (Lifetime::Independent, stage) => Plan::Carry(ticket, stage),
    }
}

/// The age of the claim comes from the wall clock, because no better clock spans processes. A clock that went backwards
/// counts as no time.
fn uncertain(inner: &Inner, left: &Stored) -> Stage {
    let claimed_us = left.started_us.unwrap_or(i64::MAX);
    let age_us = inner.clock.now_us().saturating_sub(claimed_us);
    Stage::uncertain(inner, Duration::from_micros(u64::try_from(age_us).unwrap_or(0)))
}
