//! Keeps the labels of tasks.

use std::collections::BTreeMap;

use super::sqlite::{Connection, SqlError};
use hybrid_cache_model::Tenant;

/// Keeps the labels of the task with this number.
pub fn keep(sql: &Connection, tenant: &Tenant, seq: i64, labels: &BTreeMap<String, String>) -> Result<(), SqlError> {
    const KEEP: &str = "INSERT INTO task_label (tenant, key, value, seq) VALUES (?, ?, ?, ?)";
    for (key, value) in labels {
        let [tenant, key, value] = [tenant.as_str(), key, value].map(Into::into);
        sql.execute(KEEP, &[tenant, key, value, seq.into()])?;
    }
    Ok(())
}

/// The labels of the task with this number.
pub fn of(sql: &Connection, seq: i64) -> Result<BTreeMap<String, String>, SqlError> {
    const OF_ONE: &str = "SELECT key, value FROM task_label WHERE seq = ?";
    let labels = sql.query(OF_ONE, &[seq.into()], |row| Ok((row.text(0)?, row.text(1)?)))?;
    Ok(labels.into_iter().collect())
}
