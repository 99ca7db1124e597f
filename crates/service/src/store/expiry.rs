//! Deleting tasks that ended long ago, or of which a tenant has too many.

use super::rows;
use super::sqlite::{Row, SqlError};
use super::writer::Desk;

/// Which tasks are to go.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// Those that ended before this.
    pub before_us: i64,
    /// Those of one tenant beyond so many, the ones submitted first.
    pub keep: u64,
    /// At most so many at once.
    pub batch: u32,
}

/// Deletes ended tasks and tells which.
pub fn expire(desk: &mut Desk<'_>, expiry: Expiry) -> Result<Vec<String>, SqlError> {
    const OLD: &str = "DELETE FROM task WHERE seq IN (SELECT seq FROM task WHERE ended_us IS NOT NULL AND ended_us < ? \
                       ORDER BY ended_us LIMIT ?) RETURNING id, state, tenant";
    // `+` keeps the order of submission as the way through the table: the first ones have nearly all ended.
    const MANY: &str = "DELETE FROM task WHERE seq IN (SELECT seq FROM task INDEXED BY task_by_tenant WHERE tenant = ? AND \
                        +state IN ('ended', 'cancelled') ORDER BY seq LIMIT ?) RETURNING id, state, tenant";
    let batch = i64::from(expiry.batch);
    let read = |row: &Row<'_>| Ok((row.text(0)?, row.text(1)?, rows::tenant(&row.text(2)?)?));
    let beyond = desk.tally.tenants().find_map(|(tenant, counts)| {
        let beyond = counts.last().saturating_sub(expiry.keep);
        (beyond > 0).then(|| (tenant.clone(), i64::try_from(beyond).unwrap_or(i64::MAX)))
    });
    let gone = if let Some((tenant, beyond)) = beyond {
        let values = [tenant.as_str().into(), beyond.min(batch).into()];
        desk.sql.query(MANY, &values, read)?
    } else {
        desk.sql.query(OLD, &[expiry.before_us.into(), batch.into()], read)?
    };
    for (_, stored, tenant) in &gone {
        desk.tally.remove(tenant, stored);
    }
    Ok(gone.into_iter().map(|(id, ..)| id).collect())
}
