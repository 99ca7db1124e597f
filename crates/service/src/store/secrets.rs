//! Keeps the values of a task's secret variables apart from the task, and deletes them once the driver has the task.
//!
//! The task's own row never holds them, so no answer can. They are in the database from the submit until the task starts,
//! is cancelled, or is deleted. Deleting overwrites them in the file; the write-ahead log keeps them until it is written
//! again, which happens as soon as other tasks change.

use super::sqlite::{Connection, SqlError};
use hybrid_cache_api::TaskId;
use hybrid_cache_model::TaskSpec;

/// The values of a task's secret variables as JSON; `None` if it has none.
pub fn to_json(spec: &TaskSpec) -> Result<Option<String>, serde_json::Error> {
    if spec.secret_env.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(&spec.secret_env).map(Some)
}

/// Puts the values back into a task that is read for its driver.
pub fn fill(spec: &mut TaskSpec, kept: Option<&str>) {
    // If they cannot be read, the task's check names the values that are missing.
    if let Some(secret_env) = kept.and_then(|kept| serde_json::from_str(kept).ok()) {
        spec.secret_env = secret_env;
    }
}

/// Keeps the values for the task with this number.
pub fn keep(sql: &Connection, seq: i64, json: &str) -> Result<(), SqlError> {
    const KEEP: &str = "INSERT INTO task_secret (seq, env) VALUES (?, ?)";
    sql.execute(KEEP, &[seq.into(), json.into()]).map(|_| ())
}

/// Deletes the values of these tasks, a JSON list of their numbers.
pub fn forget_all(sql: &Connection, seqs: &str) -> Result<(), SqlError> {
    const FIND: &str = "SELECT 1 FROM task_secret WHERE seq IN (SELECT value FROM json_each(?)) LIMIT 1";
    const FORGET: &str = "DELETE FROM task_secret WHERE seq IN (SELECT value FROM json_each(?))";
    if sql.first(FIND, &[seqs.into()], |row| row.integer(0))?.is_none() {
        return Ok(());
    }
    // Only here: everywhere else it would write every page that a deleted task leaves.
    sql.batch("PRAGMA secure_delete = ON")?;
    let forgotten = sql.execute(FORGET, &[seqs.into()]);
    sql.batch("PRAGMA secure_delete = OFF")?;
    forgotten.map(|_| ())
}

/// See [`forget`].
pub(super) const FIND_ONE: &str = "SELECT seq FROM task CROSS JOIN task_secret USING (seq) WHERE id = ?";

/// Deletes the values of one task.
pub fn forget(sql: &Connection, id: &TaskId) -> Result<(), SqlError> {
    match sql.first(FIND_ONE, &[id.as_str().into()], |row| row.integer(0))? {
        Some(seq) => forget_all(sql, &format!("[{seq}]")),
        None => Ok(()),
    }
}
