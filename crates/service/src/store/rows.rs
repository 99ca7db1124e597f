//! Reads tasks: which columns, and how they become values.

use std::collections::BTreeMap;

use crate::clock::timestamp;
use hybrid_cache_api::{CacheName, CacheStatusView, CacheView, EndName, StateName, TaskId, TaskList, TaskSummary};
use hybrid_cache_driver::Ticket;
use hybrid_cache_model::{Outcome, TaskSpec, Tenant};

use super::cursor::Cursors;
use super::labels;
use super::newer;
use super::secrets;
use super::sqlite::{Connection, Row, SqlError, Value};
use super::tally::STORED;
use crate::state::State;

macro_rules! summary_columns {
    () => {
        "seq, id, state, cancel_requested, created_us, queued_us, started_us, ended_us, ticket, waiting_for, end_kind, \
         exit_code, python_cache, system_cache, total_us"
    };
}

/// One stored task.
pub struct Stored {
    /// Its tenant.
    pub tenant: Tenant,
    /// The part of it that a list shows.
    pub summary: TaskSummary,
    /// Its state with its ticket.
    pub state: State,
    /// When it was claimed or given to the driver, by the wall clock.
    pub started_us: Option<i64>,
    /// The task as submitted.
    pub spec: TaskSpec,
    /// Why it cannot run as it was submitted, if a newer version stored it.
    pub unlike: Option<String>,
    /// Its outcome, if it has one that can be read.
    pub outcome: Option<Outcome>,
    /// What a newer version stored of it that this one does not know.
    pub strange: Vec<String>,
}

/// The state of a row with these columns `state` and `ticket`.
fn state(stored: &str, ticket: Option<String>) -> State {
    let ticket = ticket.and_then(|ticket| serde_json::from_str::<Ticket>(&ticket).ok());
    State::read(stored, ticket)
}

/// Reads a column's JSON.
pub fn to_json(what: &str, value: &impl serde::Serialize) -> Result<String, SqlError> {
    serde_json::to_string(value).map_err(|error| SqlError::unexpected(format!("a {what} cannot be written: {error}")))
}

fn read_cache(python: Option<String>, system: Option<String>) -> Option<CacheView> {
    let read = |text: Option<String>| {
        Some(CacheStatusView {
            status: CacheName::kept(&text?),
            downloaded_bytes: None,
            reused_bytes: None,
        })
    };
    Some(CacheView {
        python: read(python)?,
        system: read(system)?,
    })
}

fn read_summary(row: &Row<'_>) -> Result<(i64, State, TaskSummary), SqlError> {
    let state = state(&row.text(2)?, row.maybe_text(8)?);
    let id = row.text(1)?;
    let id = TaskId::parse(&id).ok_or_else(|| SqlError::unexpected("a stored id is none"))?;
    let name = state.name();
    let summary = TaskSummary {
        id,
        state: name,
        labels: BTreeMap::new(),
        created_at: timestamp(row.integer(4)?),
        queued_at: row.maybe_integer(5)?.map(timestamp),
        started_at: row
            .maybe_integer(6)?
            .filter(|_| name != StateName::Queued)
            .map(timestamp),
        ended_at: row.maybe_integer(7)?.map(timestamp),
        cancel_requested: row.integer(3)? != 0 && !name.is_final(),
        waiting_for: row.maybe_text(9)?,
        end: row.maybe_text(10)?.as_deref().map(EndName::kept),
        exit_code: row.maybe_integer(11)?.and_then(|code| i32::try_from(code).ok()),
        cache: read_cache(row.maybe_text(12)?, row.maybe_text(13)?),
        total_us: row.maybe_integer(14)?.and_then(|us| u64::try_from(us).ok()),
    };
    Ok((row.integer(0)?, state, summary))
}

fn read_whole(row: &Row<'_>) -> Result<Stored, SqlError> {
    let (_, state, mut summary) = read_summary(row)?;
    let mut strange = Vec::new();
    if state == State::Unknown {
        let word = row.text(2)?;
        strange.push(format!(
            "a newer version of the service keeps this task in the state {word:?}"
        ));
    }
    let (spec, unlike) = newer::spec(&row.text(15)?);
    strange.extend(unlike.clone());
    summary.labels.clone_from(&spec.labels);
    let outcome = row.maybe_text(16)?.map(|text| newer::outcome(&text));
    let (outcome, unread) = outcome.unwrap_or_default();
    strange.extend(unread);
    Ok(Stored {
        tenant: tenant(&row.text(17)?)?,
        summary,
        state,
        started_us: row.maybe_integer(6)?,
        spec,
        unlike,
        outcome,
        strange,
    })
}

/// A tenant's name as it is stored.
pub fn tenant(stored: &str) -> Result<Tenant, SqlError> {
    stored
        .parse()
        .map_err(|_| SqlError::unexpected("a stored tenant's name is none"))
}

/// One task of a tenant. Another tenant's task is searched in the same index, and not found, like a task that does not
/// exist.
pub fn get(sql: &Connection, tenant: &Tenant, id: &TaskId) -> Result<Option<Stored>, SqlError> {
    const ONE: &str = concat!(
        "SELECT ",
        summary_columns!(),
        ", spec, outcome, tenant FROM task INDEXED BY task_by_owner WHERE tenant = ? AND id = ?"
    );
    sql.first(ONE, &[tenant.as_str().into(), id.as_str().into()], read_whole)
}

pub(super) const STATE: &str = "SELECT state, ticket FROM task INDEXED BY task_by_owner WHERE tenant = ? AND id = ?";

/// Only the state of one task of a tenant.
pub fn state_of(sql: &Connection, tenant: &Tenant, id: &TaskId) -> Result<Option<State>, SqlError> {
    sql.first(STATE, &[tenant.as_str().into(), id.as_str().into()], |row| {
        Ok(state(&row.text(0)?, row.maybe_text(1)?))
    })
}

/// The tasks that an earlier process left starting or running, in queue order.
pub fn left_under_way(sql: &Connection) -> Result<Vec<(Stored, bool)>, SqlError> {
    const LEFT: &str = concat!(
        "SELECT ",
        summary_columns!(),
        ", spec, outcome, tenant, env FROM task LEFT JOIN task_secret USING (seq) \
         WHERE state IN ('starting', 'running') ORDER BY queue_seq"
    );
    sql.query(LEFT, &[], |row| {
        let mut left = read_whole(row)?;
        secrets::fill(&mut left.spec, row.maybe_text(18)?.as_deref());
        Ok((left, row.integer(3)? != 0))
    })
}

/// What to list, checked.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Of this tenant.
    pub tenant: Tenant,
    /// In one of these states; all if empty.
    pub states: Vec<StateName>,
    /// With this end.
    pub end: Option<EndName>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// Submitted before the task with this number.
    pub before: i64,
    /// At most this many.
    pub limit: u32,
}

impl Filter {
    fn stored(&self) -> impl Iterator<Item = &'static str> {
        let wanted = |name: StateName| self.states.is_empty() || self.states.contains(&name);
        STORED.into_iter().filter(move |stored| match *stored {
            "saved" => wanted(StateName::Saved),
            "queued" | "starting" => wanted(StateName::Queued),
            "running" => wanted(StateName::Running),
            "ended" => wanted(StateName::Ended),
            _ => wanted(StateName::Cancelled),
        })
    }
}

/// A page of the list, the task submitted last first. Each query walks an index in this order and stops at the limit,
/// so the cost depends on what is shown, not on how many tasks are stored.
pub fn list(sql: &Connection, filter: &Filter, cursors: &Cursors) -> Result<TaskList, SqlError> {
    const ALL: &str = concat!(
        "SELECT ",
        summary_columns!(),
        " FROM task WHERE tenant = ? AND seq < ? ORDER BY seq DESC LIMIT ?"
    );
    const BY_STATE: &str = concat!(
        "SELECT ",
        summary_columns!(),
        " FROM task WHERE tenant = ? AND seq < ? AND state = ? ORDER BY seq DESC LIMIT ?"
    );
    const BY_END: &str = concat!(
        "SELECT ",
        summary_columns!(),
        " FROM task WHERE tenant = ? AND seq < ? AND end_kind = ? ORDER BY seq DESC LIMIT ?"
    );
    let tenant = Value::Text(filter.tenant.as_str());
    let before = Value::Integer(filter.before);
    let wanted = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    // One more than requested shows whether there is a next page.
    let limit = Value::Integer(i64::from(filter.limit) + 1);
    let mut found = Vec::new();
    if let Some((key, value)) = filter.labels.first() {
        found = labeled(sql, filter, (key, value))?;
    } else if let Some(end) = filter.end {
        // The end determines the state: a search for another state among tasks with this end would find nothing.
        let state = match end {
            EndName::Cancelled => "cancelled",
            _ => "ended",
        };
        if filter.stored().any(|stored| stored == state) {
            found = sql.query(BY_END, &[tenant, before, end.name().into(), limit], read_summary)?;
        }
    } else if filter.states.is_empty() {
        found = sql.query(ALL, &[tenant, before, limit], read_summary)?;
    } else {
        for stored in filter.stored() {
            found.extend(sql.query(BY_STATE, &[tenant, before, stored.into(), limit], read_summary)?);
        }
        found.sort_by_key(|(seq, ..)| std::cmp::Reverse(*seq));
    }
    let more = found.len() > wanted;
    found.truncate(wanted);
    let last = found.last().filter(|_| more);
    let next = last.map(|(seq, ..)| cursors.write(&filter.tenant, *seq));
    for (seq, _, summary) in &mut found {
        summary.labels = labels::of(sql, *seq)?;
    }
    Ok(TaskList {
        items: found.into_iter().map(|(.., summary)| summary).collect(),
        next,
    })
}

/// Walks the index of the first label, newest first; the other filters look at each task in it.
pub(super) const BY_LABEL: &str = concat!(
    "SELECT ",
    summary_columns!(),
    " FROM task_label CROSS JOIN task USING (seq) \
     WHERE task_label.tenant = ?1 AND task_label.key = ?2 AND task_label.value = ?3 AND task_label.seq < ?4 \
     AND (?5 IS NULL OR state IN (SELECT value FROM json_each(?5))) AND (?6 IS NULL OR end_kind = ?6) \
     AND NOT EXISTS (SELECT 1 FROM json_each(?7) AS wanted WHERE NOT EXISTS (SELECT 1 FROM task_label AS other \
     WHERE other.tenant = ?1 AND other.key = json_extract(wanted.value, '$[0]') \
     AND other.value = json_extract(wanted.value, '$[1]') AND other.seq = task_label.seq)) \
     ORDER BY task_label.seq DESC LIMIT ?8"
);

fn labeled(
    sql: &Connection,
    filter: &Filter,
    (key, value): (&str, &str),
) -> Result<Vec<(i64, State, TaskSummary)>, SqlError> {
    let states = (!filter.states.is_empty()).then(|| filter.stored().collect::<Vec<_>>());
    let states = states.map(|states| to_json("list", &states)).transpose()?;
    let others = to_json("list", &filter.labels.iter().skip(1).collect::<Vec<_>>())?;
    let values = [
        filter.tenant.as_str().into(),
        key.into(),
        value.into(),
        filter.before.into(),
        states.as_deref().into(),
        filter.end.map(EndName::name).into(),
        others.as_str().into(),
        Value::Integer(i64::from(filter.limit) + 1),
    ];
    sql.query(BY_LABEL, &values, read_summary)
}

/// Calls `each` with every stored outcome.
pub fn each_outcome(sql: &Connection, mut see: impl FnMut(Outcome)) -> Result<(), SqlError> {
    sql.query(
        "SELECT outcome FROM task WHERE outcome IS NOT NULL ORDER BY seq",
        &[],
        |row| {
            // An outcome of a newer version is left out if it cannot be read.
            if let (Some(outcome), _) = newer::outcome(&row.text(0)?) {
                see(outcome);
            }
            Ok(())
        },
    )?;
    Ok(())
}

/// The number of tasks of each tenant in each state.
pub fn count(sql: &Connection) -> Result<Vec<(Tenant, String, i64)>, SqlError> {
    const COUNT: &str = "SELECT tenant, state, count(*) FROM task GROUP BY tenant, state";
    sql.query(COUNT, &[], |row| {
        Ok((tenant(&row.text(0)?)?, row.text(1)?, row.integer(2)?))
    })
}

/// Bytes of the texts of each tenant's saved tasks.
pub fn saved_bytes(sql: &Connection) -> Result<Vec<(Tenant, i64)>, SqlError> {
    const SAVED: &str = "SELECT tenant, sum(kept_bytes) FROM task WHERE state = 'saved' GROUP BY tenant";
    sql.query(SAVED, &[], |row| Ok((tenant(&row.text(0)?)?, row.integer(1)?)))
}

/// Bytes that are stored of one task.
pub fn kept_bytes(sql: &Connection, id: &TaskId) -> Result<u64, SqlError> {
    const KEPT: &str = "SELECT kept_bytes FROM task WHERE id = ?";
    let bytes = sql.first(KEPT, &[id.as_str().into()], |row| row.integer(0))?;
    Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default())
}

/// When the first of a tenant's saved tasks was submitted, in microseconds since 1970.
pub fn oldest_saved_us(sql: &Connection, tenant: &Tenant) -> Result<Option<i64>, SqlError> {
    sql.first(OLDEST, &[tenant.as_str().into()], |row| row.integer(0))
}

/// See [`oldest_saved_us`].
pub const OLDEST: &str = "SELECT created_us FROM task INDEXED BY task_by_tenant_state \
                          WHERE tenant = ? AND state = 'saved' ORDER BY seq LIMIT 1";

/// The key for cursors.
pub fn cursors(sql: &Connection) -> Result<Cursors, SqlError> {
    const KEY: &str = "SELECT value FROM secret WHERE name = 'cursor'";
    let key = sql.first(KEY, &[], |row| row.maybe_blob(0))?.flatten();
    let key = key.and_then(|key| key.try_into().ok());
    key.map(Cursors::new)
        .ok_or_else(|| SqlError::unexpected("the key of cursors is missing"))
}

/// The ids among these that are stored.
pub fn is_kept(sql: &Connection, id: &TaskId) -> Result<bool, SqlError> {
    let found = sql.first("SELECT 1 FROM task WHERE id = ?", &[id.as_str().into()], |row| {
        row.integer(0)
    })?;
    Ok(found.is_some())
}
