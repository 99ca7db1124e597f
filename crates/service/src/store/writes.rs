//! Changes tasks: each function is one write, and changes the state only by the transitions of [`crate::state`].

use hybrid_cache_api::{CacheName, EndName, StateName, TaskId};
use hybrid_cache_driver::Ticket;
use hybrid_cache_model::{End, Outcome, TaskSpec, Tenant};

use super::insert::whole;
use super::newer;
use super::rows;
use super::secrets;
use super::sqlite::SqlError;
use super::writer::WriteContext;
use crate::state::{Event, State};

const NEXT: &str = "SELECT coalesce(max(queue_seq), 0) + 1 FROM task";
const FIRST: &str = "SELECT id, spec, env FROM task LEFT JOIN task_secret USING (seq) \
                     WHERE state = 'queued' AND tenant = ? ORDER BY queue_seq LIMIT 1";

/// Writes a row unchanged: success shows that writing works.
pub fn try_to_write(context: &mut WriteContext<'_>) -> Result<(), SqlError> {
    const SAME: &str = "UPDATE secret SET value = value WHERE name = 'cursor'";
    context.sql.execute(SAME, &[]).map(|_| ())
}

/// The columns that a transition writes in addition to the state.
#[derive(Default)]
struct TransitionColumns<'a> {
    queue_seq: Option<i64>,
    queued_us: Option<i64>,
    started_us: Option<i64>,
    ended_us: Option<i64>,
    waiting_for: Option<&'a str>,
    outcome: Option<&'a Outcome>,
}

/// A task with its tenant.
pub type TaskKey<'a> = (&'a Tenant, &'a TaskId);

/// Makes one transition, or returns why it is not allowed.
fn step(
    context: &mut WriteContext<'_>,
    (tenant, id): TaskKey<'_>,
    before: State,
    event: Event,
    columns: &TransitionColumns<'_>,
) -> Result<Result<State, State>, SqlError> {
    const STEP: &str = "UPDATE task SET state = ?, ticket = ?, queue_seq = coalesce(?, queue_seq), \
         queued_us = coalesce(?, queued_us), started_us = coalesce(?, started_us), ended_us = ?, waiting_for = ?, \
         end_kind = ?, exit_code = ?, python_cache = ?, system_cache = ?, total_us = ?, outcome = ?, \
         kept_bytes = kept_bytes + ? \
         WHERE id = ? AND state = ?";
    let after = match before.clone().next(event) {
        Ok(after) => after,
        Err(illegal) => return Ok(Err(illegal.state)),
    };
    // A final task keeps its ticket.
    let ticket = after.ticket().or(before.ticket().filter(|_| after.name().is_final()));
    let ticket = ticket.map(|ticket| rows::to_json("ticket", ticket)).transpose()?;
    let outcome = columns.outcome;
    let json = outcome.map(|outcome| rows::to_json("outcome", outcome)).transpose()?;
    let text_bytes = match before {
        State::Saved => Some(rows::kept_bytes(context.sql, id)?),
        _ => None,
    };
    let exit_code = outcome.and_then(|outcome| match outcome.end {
        End::Exited { code } => Some(i64::from(code)),
        _ => None,
    });
    let end_kind = match (&after, outcome) {
        (State::Cancelled, _) => Some(EndName::Cancelled.name()),
        (_, outcome) => outcome.map(|outcome| EndName::from_end(&outcome.end).name()),
    };
    let printed = outcome.map_or(0, |outcome| outcome.stdout.passed_bytes + outcome.stderr.passed_bytes);
    let kept_bytes = whole(printed + json.as_ref().map_or(0, |json| json.len() as u64));
    let total_us = outcome.map(|outcome| i64::try_from(outcome.timeline.total_us).unwrap_or(i64::MAX));
    let values = [
        after.stored().into(),
        ticket.as_deref().into(),
        columns.queue_seq.into(),
        columns.queued_us.into(),
        columns.started_us.into(),
        columns.ended_us.into(),
        columns.waiting_for.into(),
        end_kind.into(),
        exit_code.into(),
        outcome
            .map(|outcome| CacheName::from_status(outcome.cache.python).name())
            .into(),
        outcome
            .map(|outcome| CacheName::from_status(outcome.cache.system).name())
            .into(),
        total_us.into(),
        json.as_deref().into(),
        kept_bytes.into(),
        id.as_str().into(),
        before.stored().into(),
    ];
    // The state was read in this same transaction, and there is one writer.
    if context.sql.execute(STEP, &values)? != 1 {
        return Err(SqlError::unexpected(
            "a task's state changed between two statements of one transaction",
        ));
    }
    if after.name().is_final() || matches!(after, State::Running { .. }) {
        // The driver has the task, or never will.
        secrets::forget(context.sql, id)?;
    }
    context.tally.step(tenant, Some(&before), Some(&after));
    if let Some(bytes) = text_bytes {
        context.tally.unsave(tenant, bytes);
    }
    Ok(Ok(after))
}

/// The result of running a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It is in the queue now.
    Now,
    /// It was run before, and is in this state.
    Before(StateName),
    /// It was cancelled.
    Cancelled,
    /// The queue is full.
    Full(u64),
    /// There is no such task.
    Unknown,
}

/// Puts a task into the queue, which holds at most `limit` tasks of one tenant.
pub fn queue(
    context: &mut WriteContext<'_>,
    (tenant, id): TaskKey<'_>,
    limit: u64,
    now_us: i64,
) -> Result<Queued, SqlError> {
    let state = match rows::state_of(context.sql, tenant, id)? {
        None => return Ok(Queued::Unknown),
        Some(State::Cancelled) => return Ok(Queued::Cancelled),
        Some(State::Saved) => State::Saved,
        Some(other) => return Ok(Queued::Before(other.name())),
    };
    let waiting = context.tally.for_tenant(tenant).waiting();
    if waiting >= limit {
        return Ok(Queued::Full(waiting));
    }
    let columns = TransitionColumns {
        queue_seq: context.sql.first(NEXT, &[], |row| row.integer(0))?,
        queued_us: Some(now_us),
        ..TransitionColumns::default()
    };
    match step(context, (tenant, id), state, Event::Run, &columns)? {
        Ok(_) => Ok(Queued::Now),
        Err(state) => Ok(Queued::Before(state.name())),
    }
}

/// A task that leaves the queue.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its id.
    pub id: TaskId,
    /// The ticket to submit it under.
    pub ticket: Ticket,
    /// The task.
    pub spec: TaskSpec,
    /// Why it cannot run as it was submitted.
    pub unlike: Option<String>,
}

/// The ticket of a task.
pub fn ticket(driver: &str, id: &TaskId) -> Ticket {
    Ticket {
        driver: driver.to_owned(),
        id: id.to_string(),
    }
}

/// Takes the oldest waiting task of the tenant whose turn comes after `after`, and stores the ticket under which it
/// will be submitted.
pub fn claim(
    context: &mut WriteContext<'_>,
    after: Option<&Tenant>,
    driver: &str,
    now_us: i64,
) -> Result<Option<Claimed>, SqlError> {
    let Some(tenant) = context.tally.next_waiting(after).cloned() else {
        return Ok(None);
    };
    let values = [tenant.as_str().into()];
    let first = context.sql.first(FIRST, &values, |row| {
        Ok((row.text(0)?, row.text(1)?, row.maybe_text(2)?))
    })?;
    let Some((id, spec, secrets)) = first else {
        return Ok(None);
    };
    let id = TaskId::parse(&id).ok_or_else(|| SqlError::unexpected("a stored id is none"))?;
    let (mut spec, unlike) = newer::spec(&spec);
    secrets::fill(&mut spec, secrets.as_deref());
    let ticket = ticket(driver, &id);
    let event = Event::Claim { ticket: ticket.clone() };
    let columns = TransitionColumns {
        started_us: Some(now_us),
        ..TransitionColumns::default()
    };
    let moved = step(context, (&tenant, &id), State::Queued, event, &columns)?;
    Ok(moved.is_ok().then_some(Claimed {
        tenant,
        id,
        ticket,
        spec,
        unlike,
    }))
}

/// Whether a client has cancelled a task that is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelRequest {
    /// No.
    None,
    /// Yes, and the driver does not know yet.
    Pending,
}

fn asked(context: &WriteContext<'_>, id: &TaskId) -> Result<CancelRequest, SqlError> {
    const FLAG: &str = "SELECT cancel_requested FROM task WHERE id = ?";
    let flag = context.sql.first(FLAG, &[id.as_str().into()], |row| row.integer(0))?;
    Ok(if flag == Some(1) {
        CancelRequest::Pending
    } else {
        CancelRequest::None
    })
}

/// Makes a transition of an active task; `None` if the task's state does not allow it.
pub fn advance(
    context: &mut WriteContext<'_>,
    (tenant, id): TaskKey<'_>,
    event: Event,
    waiting_for: Option<&str>,
    now_us: i64,
) -> Result<Option<CancelRequest>, SqlError> {
    let Some(state) = rows::state_of(context.sql, tenant, id)? else {
        return Ok(None);
    };
    let columns = TransitionColumns {
        started_us: matches!(event, Event::Start { .. }).then_some(now_us),
        waiting_for,
        ..TransitionColumns::default()
    };
    match step(context, (tenant, id), state, event, &columns)? {
        Ok(_) => Ok(Some(asked(context, id)?)),
        Err(_) => Ok(None),
    }
}

/// Stores a task's end; `None` if it has already ended.
pub fn end(
    context: &mut WriteContext<'_>,
    (tenant, id): TaskKey<'_>,
    event: Event,
    outcome: Option<&Outcome>,
    now_us: i64,
) -> Result<Option<State>, SqlError> {
    let Some(state) = rows::state_of(context.sql, tenant, id)? else {
        return Ok(None);
    };
    let columns = TransitionColumns {
        ended_us: Some(now_us),
        outcome,
        ..TransitionColumns::default()
    };
    Ok(step(context, (tenant, id), state, event, &columns)?.ok())
}

/// The result of cancelling a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It will never run.
    Now,
    /// The driver must be asked.
    Requested,
    /// It had ended before.
    Before(StateName),
    /// There is no such task.
    Unknown,
}

/// Cancels a task that has not started, or notes that it should end.
pub fn cancel(context: &mut WriteContext<'_>, (tenant, id): TaskKey<'_>, now_us: i64) -> Result<Cancelled, SqlError> {
    const ASK: &str = "UPDATE task SET cancel_requested = 1 WHERE id = ? AND state IN ('starting', 'running')";
    let state = match rows::state_of(context.sql, tenant, id)? {
        None => return Ok(Cancelled::Unknown),
        Some(state) if state.name().is_final() => return Ok(Cancelled::Before(state.name())),
        Some(State::Starting { .. } | State::Running { .. }) => {
            context.sql.execute(ASK, &[id.as_str().into()])?;
            context.tally.touch();
            return Ok(Cancelled::Requested);
        }
        Some(state) => state,
    };
    let columns = TransitionColumns {
        ended_us: Some(now_us),
        ..TransitionColumns::default()
    };
    match step(context, (tenant, id), state, Event::Cancel, &columns)? {
        Ok(_) => Ok(Cancelled::Now),
        Err(state) => Ok(Cancelled::Before(state.name())),
    }
}

/// Stores why a starting or running task still waits for the driver.
pub fn explain(context: &mut WriteContext<'_>, id: &TaskId, reason: Option<&str>) -> Result<CancelRequest, SqlError> {
    const EXPLAIN: &str = "UPDATE task SET waiting_for = ? WHERE id = ? AND state IN ('queued', 'starting', 'running')";
    context.sql.execute(EXPLAIN, &[reason.into(), id.as_str().into()])?;
    context.tally.touch();
    asked(context, id)
}

/// Adds what became known after the end to a task's outcome.
pub fn amend(context: &mut WriteContext<'_>, id: &TaskId, outcome: &Outcome) -> Result<(), SqlError> {
    const AMEND: &str = "UPDATE task SET outcome = ? WHERE id = ? AND outcome IS NOT NULL";
    let json = rows::to_json("outcome", outcome)?;
    context
        .sql
        .execute(AMEND, &[json.as_str().into(), id.as_str().into()])?;
    context.tally.touch();
    Ok(())
}

/// The result of deleting a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is deleted.
    Now,
    /// It waits or runs.
    UnderWay(StateName),
    /// There is no such task.
    Unknown,
}

/// Deletes a task that neither waits nor runs.
pub fn delete(context: &mut WriteContext<'_>, (tenant, id): TaskKey<'_>) -> Result<Deleted, SqlError> {
    let Some(state) = rows::state_of(context.sql, tenant, id)? else {
        return Ok(Deleted::Unknown);
    };
    if state == State::Unknown || !state.name().is_final() && state != State::Saved {
        return Ok(Deleted::UnderWay(state.name()));
    }
    if state == State::Saved {
        let bytes = rows::kept_bytes(context.sql, id)?;
        context.tally.unsave(tenant, bytes);
    }
    secrets::forget(context.sql, id)?;
    context
        .sql
        .execute("DELETE FROM task WHERE id = ?", &[id.as_str().into()])?;
    context.tally.remove(tenant, state.stored());
    Ok(Deleted::Now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::sqlite::{Connection, OpenMode, Value};
    use super::*;

    /// Submitting, running and claiming a task find their rows by an index, however many tasks are stored.
    #[test]
    fn queries_for_one_task_scan_no_table() {
        let root = tempfile::tempdir().unwrap();
        let config = crate::ServiceConfig::new(root.path());
        drop(super::super::Store::open(&config).unwrap());
        let path = root.path().join("tasks.sqlite3");
        let sql = Connection::open(&path, OpenMode::Read, Duration::from_secs(5)).unwrap();
        for statement in [
            super::super::insert::BY_KEY,
            NEXT,
            FIRST,
            rows::STATE,
            rows::OLDEST,
            secrets::FIND_ONE,
        ] {
            let values = vec![Value::Null; statement.matches('?').count()];
            let plan = sql.query(&format!("EXPLAIN QUERY PLAN {statement}"), &values, |row| row.text(3));
            let plan = plan.unwrap().join("; ");
            // `max` of an indexed column is a search for its last entry.
            assert!(
                plan.contains("SEARCH task") && !plan.contains("SCAN"),
                "{statement}: {plan}"
            );
        }
        let statement = rows::BY_LABEL;
        let plan = sql.query(&format!("EXPLAIN QUERY PLAN {statement}"), &[Value::Null; 8], |row| {
            row.text(3)
        });
        let plan = plan.unwrap().join("; ");
        let walk = "SEARCH task_label USING PRIMARY KEY (tenant=? AND key=? AND value=? AND seq<?)";
        assert!(plan.starts_with(walk) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}
