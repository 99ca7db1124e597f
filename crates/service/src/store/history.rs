//! Figures over time: what the volumes held, and what the caches answered.

use crate::clock::timestamp;
use hybrid_cache_model::Tenant;
use serde::Serialize;

use super::sqlite::{Connection, SqlError};
use super::writer::WriteContext;

/// What one cache volume held at some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeUse {
    /// When, RFC 3339.
    pub at: String,
    /// Which volume.
    pub volume: String,
    /// Bytes.
    pub bytes: u64,
    /// Files and folders.
    pub inodes: u64,
}

/// What the caches answered to the tasks that ended within one interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HitRate {
    /// When it began, RFC 3339.
    pub from: String,
    /// Tasks for which every cache hit.
    pub hits: u64,
    /// Tasks for which a cache had to be filled.
    pub misses: u64,
}

/// Stores what a volume holds.
pub fn note_volume(
    context: &mut WriteContext<'_>,
    at_us: i64,
    volume: &str,
    bytes: u64,
    inodes: u64,
) -> Result<(), SqlError> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX).into();
    let values = [at_us.into(), volume.into(), number(bytes), number(inodes)];
    context.sql.execute(
        "INSERT INTO volume_use (at_us, volume, bytes, inodes) VALUES (?, ?, ?, ?)",
        &values,
    )?;
    Ok(())
}

/// Deletes figures from before some time.
pub fn forget_volumes(context: &mut WriteContext<'_>, before_us: i64) -> Result<(), SqlError> {
    context
        .sql
        .execute("DELETE FROM volume_use WHERE at_us < ?", &[before_us.into()])?;
    Ok(())
}

/// The figures since some time, oldest first.
pub fn volumes(sql: &Connection, since_us: i64) -> Result<Vec<VolumeUse>, SqlError> {
    const SINCE: &str =
        "SELECT at_us, volume, bytes, inodes FROM volume_use WHERE at_us >= ? ORDER BY at_us LIMIT 10000";
    sql.query(SINCE, &[since_us.into()], |row| {
        Ok(VolumeUse {
            at: timestamp(row.integer(0)?),
            volume: row.text(1)?,
            bytes: unsigned(row.integer(2)?),
            inodes: unsigned(row.integer(3)?),
        })
    })
}

/// Hits and misses of a tenant since some time in intervals of `stretch_us` microseconds, oldest first. Intervals
/// without an ended task are left out, and so are tasks that used or asked no cache.
pub fn hit_rates(sql: &Connection, tenant: &Tenant, since_us: i64, stretch_us: i64) -> Result<Vec<HitRate>, SqlError> {
    const SINCE: &str = "SELECT ended_us / ?1 * ?1 AS stretch, \
         sum(python_cache <> 'built' AND system_cache <> 'built'), \
         sum(python_cache = 'built' OR system_cache = 'built') \
         FROM task WHERE tenant = ?3 AND ended_us IS NOT NULL AND ended_us >= ?2 \
         AND (python_cache IN ('hit', 'built') OR system_cache IN ('hit', 'built')) \
         GROUP BY stretch ORDER BY stretch LIMIT 10000";
    let values = [stretch_us.max(1).into(), since_us.into(), tenant.as_str().into()];
    sql.query(SINCE, &values, |row| {
        Ok(HitRate {
            from: timestamp(row.integer(0)?),
            hits: unsigned(row.integer(1)?),
            misses: unsigned(row.integer(2)?),
        })
    })
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
