//! Deletes tasks that are too old, too many or too large, in small batches that let other writes in between.

use hybrid_cache_api::TaskId;
use hybrid_cache_model::Tenant;

use super::rows;
use super::secrets;
use super::sqlite::{Connection, Row, SqlError, Value};
use super::writer::WriteContext;
use crate::state::State;

/// Most bytes that one batch deletes, counted by what its tasks hold.
const BATCH_BYTES: u64 = 16 << 20;
/// What a task counts at least: its row, and a block of output.
const LEAST_BYTES: u64 = 4096;
/// Pages returned to the file system in one transaction.
const BACK_PAGES: u32 = 256;
/// Free pages that a database keeps for reuse.
const SPARE_PAGES: u64 = 1024;

/// Which tasks to delete.
#[derive(Clone, Debug)]
pub enum Expiry {
    /// Those that ended before this time.
    Old(i64),
    /// Ended tasks of one tenant beyond this number, those submitted first.
    Many(u64),
    /// Those that no client has run.
    Forgotten {
        /// Submitted before this time.
        before_us: i64,
        /// The same for a tenant that has more than `crowd` of them.
        crowded_us: i64,
        /// How many count as a crowd.
        crowd: u64,
        /// How many bytes of all tenants count as a crowd; each tenant has an equal share.
        crowd_bytes: u64,
    },
    /// Ended tasks of this tenant, those that ended first, until this many bytes are free.
    Large(Tenant, u64),
}

/// A task to delete.
struct ExpiredTask {
    seq: i64,
    id: TaskId,
    stored: String,
    tenant: Tenant,
    /// The bytes that it counts.
    bytes: u64,
    /// The bytes that are stored of it.
    kept_bytes: u64,
}

macro_rules! select_tasks {
    ($rest:literal) => {
        concat!("SELECT seq, id, state, tenant, kept_bytes FROM task ", $rest)
    };
}

fn read(row: &Row<'_>) -> Result<ExpiredTask, SqlError> {
    let kept_bytes = u64::try_from(row.integer(4)?).unwrap_or_default();
    Ok(ExpiredTask {
        seq: row.integer(0)?,
        id: TaskId::parse(&row.text(1)?).ok_or_else(|| SqlError::unexpected("a stored id is none"))?,
        stored: row.text(2)?,
        tenant: rows::tenant(&row.text(3)?)?,
        bytes: kept_bytes.max(LEAST_BYTES),
        kept_bytes,
    })
}

/// Deletes at most `batch` tasks and returns them; an empty result means that none are left.
pub fn expire(context: &mut WriteContext<'_>, expiry: &Expiry, batch: u32) -> Result<Vec<TaskId>, SqlError> {
    const GONE: &str = "DELETE FROM task WHERE seq IN (SELECT value FROM json_each(?))";
    let mut most = BATCH_BYTES;
    if let Expiry::Large(_, bytes) = expiry {
        most = most.min(*bytes);
    }
    let mut expired = candidates(context, expiry, i64::from(batch))?;
    let mut bytes = 0;
    let enough = expired.iter().position(|task| {
        bytes += task.bytes;
        bytes >= most
    });
    expired.truncate(enough.map_or(expired.len(), |last| last + 1));
    if expired.is_empty() {
        return Ok(Vec::new());
    }
    let seqs = expired.iter().map(|task| task.seq).collect::<Vec<_>>();
    let seqs = rows::to_json("list", &seqs)?;
    secrets::forget_all(context.sql, &seqs)?;
    context.sql.execute(GONE, &[seqs.as_str().into()])?;
    for task in &expired {
        context.tally.remove(&task.tenant, &task.stored);
        if task.stored == State::Saved.stored() {
            context.tally.unsave(&task.tenant, task.kept_bytes);
        }
    }
    Ok(expired.into_iter().map(|task| task.id).collect())
}

fn candidates(context: &WriteContext<'_>, expiry: &Expiry, batch: i64) -> Result<Vec<ExpiredTask>, SqlError> {
    const OLD: &str = select_tasks!("WHERE ended_us IS NOT NULL AND ended_us < ? ORDER BY ended_us LIMIT ?");
    // `+` makes SQLite walk the table in the order of submission: the first tasks have nearly all ended.
    const MANY: &str = select_tasks!(
        "INDEXED BY task_by_tenant WHERE tenant = ? AND +state IN ('ended', 'cancelled') ORDER BY seq LIMIT ?"
    );
    const LARGE: &str = select_tasks!(
        "INDEXED BY task_by_tenant_kept WHERE tenant = ? AND ended_us IS NOT NULL ORDER BY ended_us LIMIT ?"
    );
    let batch = Value::Integer(batch);
    match expiry {
        Expiry::Old(before_us) => context.sql.query(OLD, &[(*before_us).into(), batch], read),
        Expiry::Many(keep) => {
            let beyond = context.tally.tenants().find_map(|(tenant, counts)| {
                let beyond = counts.last().saturating_sub(*keep);
                (beyond > 0).then(|| (tenant, i64::try_from(beyond).unwrap_or(i64::MAX)))
            });
            let Some((tenant, beyond)) = beyond else {
                return Ok(Vec::new());
            };
            let mut found = context.sql.query(MANY, &[tenant.as_str().into(), batch], read)?;
            found.truncate(usize::try_from(beyond).unwrap_or(usize::MAX));
            Ok(found)
        }
        Expiry::Forgotten {
            before_us,
            crowded_us,
            crowd,
            crowd_bytes,
        } => {
            let is_large = context.tally.all().saved_bytes() > *crowd_bytes;
            for (tenant, counts) in context.tally.tenants().filter(|(_, counts)| counts.saved() > 0) {
                let takes_more = || counts.saved_bytes() > context.tally.share(*crowd_bytes, tenant);
                let crowded = counts.saved() > *crowd || is_large && takes_more();
                let before_us = if crowded { *crowded_us } else { *before_us };
                let found = forgotten(context.sql, tenant, before_us, batch)?;
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            Ok(Vec::new())
        }
        Expiry::Large(tenant, _) => context.sql.query(LARGE, &[tenant.as_str().into(), batch], read),
    }
}

/// The first saved tasks, as far as they are old enough: those after them were submitted later. See [`stamp_anew`] for
/// a clock that was set back.
fn forgotten(
    sql: &Connection,
    tenant: &Tenant,
    before_us: i64,
    batch: Value<'_>,
) -> Result<Vec<ExpiredTask>, SqlError> {
    const FIRST: &str = "SELECT seq FROM (SELECT seq, created_us FROM task INDEXED BY task_by_tenant_state \
                         WHERE tenant = ?1 AND state = 'saved' ORDER BY seq LIMIT ?3) WHERE created_us < ?2";
    const ONE: &str = select_tasks!("WHERE seq = ?");
    let values = [tenant.as_str().into(), before_us.into(), batch];
    let seqs = sql.query(FIRST, &values, |row| row.integer(0))?;
    let mut found = Vec::new();
    for seq in seqs {
        found.extend(sql.first(ONE, &[seq.into()], read)?);
    }
    Ok(found)
}

/// Saved tasks whose time is corrected in one transaction.
const STAMPS: i64 = 1000;

/// Corrects saved tasks at the front of a tenant's list whose time lies ahead of a clock that was set back. They get
/// the time of the next task that is not ahead, or the current time, because they were submitted before that. Otherwise
/// they would never be old, and everything after them would wait. Looks at the first `batch` tasks of each tenant, and
/// returns how many were corrected.
pub fn stamp_anew(context: &mut WriteContext<'_>, now_us: i64, batch: u32) -> Result<usize, SqlError> {
    const AHEAD: &str = "SELECT seq FROM (SELECT seq, created_us FROM task INDEXED BY task_by_tenant_state \
                         WHERE tenant = ?1 AND state = 'saved' ORDER BY seq LIMIT ?3) WHERE created_us > ?2 LIMIT 1";
    const NEXT: &str = "SELECT seq, created_us FROM task INDEXED BY task_by_tenant_state \
                        WHERE tenant = ?1 AND state = 'saved' AND seq > ?3 AND created_us <= ?2 ORDER BY seq LIMIT 1";
    const STAMP: &str = "UPDATE task SET created_us = ?2 WHERE seq IN (SELECT seq FROM task INDEXED BY task_by_tenant_state \
                         WHERE tenant = ?1 AND state = 'saved' AND seq >= ?3 AND seq < ?4 ORDER BY seq LIMIT ?5)";
    for (tenant, _) in context.tally.tenants().filter(|(_, counts)| counts.saved() > 0) {
        let (tenant, now) = (Value::Text(tenant.as_str()), Value::Integer(now_us));
        let first = context
            .sql
            .first(AHEAD, &[tenant, now, i64::from(batch).into()], |row| row.integer(0))?;
        let Some(first) = first else { continue };
        let next = context.sql.first(NEXT, &[tenant, now, first.into()], |row| {
            Ok((row.integer(0)?, row.integer(1)?))
        })?;
        let (end, stamp) = next.unwrap_or((i64::MAX, now_us));
        let values = [tenant, stamp.into(), first.into(), end.into(), STAMPS.into()];
        return context.sql.execute(STAMP, &values);
    }
    Ok(0)
}

/// The tenant whose ended tasks hold most, and how much more that is than the next tenant's.
pub fn heaviest(sql: &Connection) -> Result<Option<(Tenant, u64)>, SqlError> {
    const HELD: &str = "SELECT tenant, sum(max(kept_bytes, ?)) AS held FROM task INDEXED BY task_by_tenant_kept \
                        WHERE ended_us IS NOT NULL GROUP BY tenant ORDER BY held DESC LIMIT 2";
    let least = i64::try_from(LEAST_BYTES).unwrap_or_default();
    let mut held = sql
        .query(HELD, &[least.into()], |row| {
            Ok((
                rows::tenant(&row.text(0)?)?,
                u64::try_from(row.integer(1)?).unwrap_or_default(),
            ))
        })?
        .into_iter();
    let Some((tenant, bytes)) = held.next() else {
        return Ok(None);
    };
    let next = held.next().map_or(0, |(_, bytes)| bytes);
    Ok(Some((tenant, (bytes - next).max(BATCH_BYTES / 4))))
}

/// The size of the database's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Bytes in use.
    pub used_bytes: u64,
    /// True if the file has more free pages than are worth keeping, and they can be returned.
    pub surplus: bool,
}

/// Reads it: three numbers of the file's head.
pub fn pages(sql: &Connection) -> Result<Pages, SqlError> {
    let number = |pragma: &str| {
        let number = sql.first(pragma, &[], |row| row.integer(0))?;
        Ok::<_, SqlError>(number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default())
    };
    let (size, all) = (number("PRAGMA page_size")?, number("PRAGMA page_count")?);
    let free = number("PRAGMA freelist_count")?;
    Ok(Pages {
        used_bytes: all.saturating_sub(free).saturating_mul(size),
        surplus: free > SPARE_PAGES && number("PRAGMA auto_vacuum")? > 0,
    })
}

/// Returns some free pages to the file system.
pub fn give_back(context: &mut WriteContext<'_>) -> Result<(), SqlError> {
    context.sql.batch(&format!("PRAGMA incremental_vacuum({BACK_PAGES})"))
}
