//! Stores new tasks, within the bounds of their tenant.

use std::collections::BTreeMap;

use hybrid_cache_api::TaskId;
use hybrid_cache_model::Tenant;

use super::labels;
use super::rows;
use super::secrets;
use super::sqlite::{SqlError, Value};
use super::writer::WriteContext;
use crate::state::State;

/// A task to store.
#[derive(Clone)]
pub struct NewTask {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its new id.
    pub id: TaskId,
    /// The task as submitted, as JSON, without the values of secret variables.
    pub spec: String,
    /// Those values, as [`secrets::to_json`] writes them.
    pub secrets: Option<String>,
    /// The task's labels.
    pub labels: BTreeMap<String, String>,
    /// The client's key and the digest of its body.
    pub idempotency: Option<(String, Vec<u8>)>,
    /// The time of the submit, for people.
    pub now_us: i64,
    /// Most tasks of one tenant that have not ended.
    pub open_limit: u64,
    /// Most bytes of all saved tasks; `None` sets no bound.
    pub saved_limit_bytes: Option<u64>,
}

/// The result of storing a [`NewTask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is stored.
    New,
    /// The key came before with the same body; this is its task.
    Same(TaskId),
    /// The key came before with another body.
    OtherBody,
    /// The tenant has too many open tasks.
    TooMany(Crowd),
    /// Saved tasks take as many bytes as they may.
    TooLarge(Crowd),
}

/// How many tasks prevent a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// Tasks of the tenant that have not ended.
    pub open: u64,
    /// Of these, tasks that no client has run.
    pub saved: u64,
    /// Bytes that those take.
    pub saved_bytes: u64,
    /// When the first of them was submitted.
    pub oldest_us: Option<i64>,
}

/// See [`insert`].
pub(super) const BY_KEY: &str =
    "SELECT id, body_digest, env FROM task LEFT JOIN task_secret USING (seq) WHERE idempotency_key = ?";

/// An Idempotency-Key as it is stored: each tenant has its own keys, and those of `default` look as in the first
/// version's databases.
fn stored_key(tenant: &Tenant, key: &str) -> String {
    if *tenant == Tenant::default() {
        key.to_owned()
    } else {
        format!("{tenant} {key}")
    }
}

/// Stores a task.
pub fn insert(context: &mut WriteContext<'_>, task: &NewTask) -> Result<Inserted, SqlError> {
    const INSERT: &str = "INSERT INTO task (id, state, created_us, idempotency_key, body_digest, spec, tenant, kept_bytes) \
                          VALUES (?, 'saved', ?, ?, ?, ?, ?, ?) ON CONFLICT (idempotency_key) DO NOTHING";
    let tenant = &task.tenant;
    let idempotency = task.idempotency.as_ref();
    let idempotency = idempotency.map(|(key, digest)| (stored_key(tenant, key), digest));
    if let Some((key, digest)) = &idempotency {
        let known = context.sql.first(BY_KEY, &[key.as_str().into()], |row| {
            Ok((row.text(0)?, row.maybe_blob(1)?, row.maybe_text(2)?))
        })?;
        if let Some((id, known, secrets)) = known {
            let id = TaskId::parse(&id).ok_or_else(|| SqlError::unexpected("a stored id is none"))?;
            // The digest holds nothing of secret values, and once they are deleted they cannot be compared.
            let same = known.as_ref() == Some(*digest) && (secrets.is_none() || secrets == task.secrets);
            return Ok(if same { Inserted::Same(id) } else { Inserted::OtherBody });
        }
    }
    if context.tally.for_tenant(tenant).open() >= task.open_limit {
        return Ok(Inserted::TooMany(crowd(context, tenant)?));
    }
    if is_too_large(context, task) {
        return Ok(Inserted::TooLarge(crowd(context, tenant)?));
    }
    let (key, digest) = match &idempotency {
        Some((key, digest)) => (Value::Text(key), Value::Blob(digest)),
        None => (Value::Null, Value::Null),
    };
    let id = task.id.as_str().into();
    let owner = tenant.as_str().into();
    let (spec, bytes) = (task.spec.as_str(), whole(task.spec.len() as u64));
    let values = [id, task.now_us.into(), key, digest, spec.into(), owner, bytes.into()];
    context.sql.execute(INSERT, &values)?;
    let seq = context.sql.last_row();
    labels::keep(context.sql, tenant, seq, &task.labels)?;
    if let Some(secrets) = &task.secrets {
        secrets::keep(context.sql, seq, secrets)?;
    }
    context.tally.step(tenant, None, Some(&State::Saved));
    context.tally.save(tenant, task.spec.len() as u64);
    Ok(Inserted::New)
}

/// True if saved tasks leave no room for another one, and the tenant has its share.
fn is_too_large(context: &WriteContext<'_>, task: &NewTask) -> bool {
    let Some(limit) = task.saved_limit_bytes else {
        return false;
    };
    let bytes = task.spec.len() as u64;
    let own = context.tally.for_tenant(&task.tenant);
    let is_over = context.tally.all().saved_bytes() + bytes > limit;
    let has_its_share = own.saved_bytes() + bytes > context.tally.share(limit, &task.tenant);
    is_over && has_its_share && own.saved() > 0
}

fn crowd(context: &WriteContext<'_>, tenant: &Tenant) -> Result<Crowd, SqlError> {
    let counts = context.tally.for_tenant(tenant);
    Ok(Crowd {
        open: counts.open(),
        saved: counts.saved(),
        saved_bytes: counts.saved_bytes(),
        oldest_us: rows::oldest_saved_us(context.sql, tenant)?,
    })
}

/// A number of bytes as SQLite holds it.
pub(super) fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
