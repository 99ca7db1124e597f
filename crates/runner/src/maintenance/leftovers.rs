//! Removes what killed processes left on the Python volume, found by its locks and its age. Runs after each
//! preparation, once no task waits for it, within a time limit.
//!
//! ```text
//! tenants/<tenant>/staging/<name>   folders of preparations    its lock is free
//! tenants/<tenant>/envs/<key>       links of publishers        older than a minute
//! trash/*                           half deleted               always
//! .ledger-*                         half written ledgers       older than a minute
//! uv/.tmp*, uv/*/.tmp*              downloads of uv            uv's lock is free, or they are a day old
//! locks/<tenant>-<key>              locks of builds            they are free and a day old
//! ```

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;

use crate::ledger;
use crate::python::PythonVolume;
use crate::python::uv_cache;
use crate::store::folder::entries;
use crate::store::lock::{self, Missing, Mode};
use crate::store::{files, stage};

/// No preparation takes this long, so older files are not in use.
const MAX_BUILD_TIME: Duration = Duration::from_secs(24 * 3600);
/// Prefix of uv's unfinished downloads.
const UNFINISHED: &str = ".tmp";

/// The result of a sweep.
#[derive(Debug, Default)]
pub struct SweepResult {
    /// How many leftovers were removed.
    pub removed: u64,
    /// The first thing that could not be removed.
    pub failure: Option<Failure>,
}

impl SweepResult {
    pub(super) fn note(&mut self, result: Result<u64, Failure>) {
        match result {
            Ok(removed) => self.removed += removed,
            Err(failure) => self.failure = self.failure.take().or(Some(failure)),
        }
    }
}

/// Sweeps the volume until `deadline`; the next sweep continues.
pub fn sweep(volume: &PythonVolume, deadline: Instant) -> SweepResult {
    let mut swept = SweepResult::default();
    let tenants = match PythonVolume::all(volume.root()) {
        Ok(tenants) => tenants,
        Err(failure) => {
            swept.failure = Some(failure);
            return swept;
        }
    };
    for tenant in tenants {
        let of_stages = stage::sweep(&tenant.staging(), &tenant.trash(), deadline);
        swept.note(of_stages.map(|count| count as u64));
        swept.note(dead_claims(&tenant).and_then(|claims| delete_all(&claims, deadline)));
    }
    swept.note(uv_leftovers(volume, deadline));
    swept.note(dead_ledgers(volume.root()).and_then(|ledgers| delete_all(&ledgers, deadline)));
    swept.note(dead_locks(&volume.locks(), |name| name.contains('-'), deadline));
    swept
}

fn delete_all(paths: &[PathBuf], deadline: Instant) -> Result<u64, Failure> {
    let mut deleted = 0;
    for path in paths.iter().take_while(|_| Instant::now() < deadline) {
        files::delete(path)?;
        deleted += 1;
    }
    Ok(deleted)
}

/// Links in a tenant's `envs/` that a killed publisher left (see [`files::place`]); a live one exists for microseconds.
pub fn dead_claims(volume: &PythonVolume) -> Result<Vec<PathBuf>, Failure> {
    let mut claims = entries(&volume.environments())?;
    claims.retain(|path| path.is_symlink() && stage::age(path) > stage::GRACE);
    Ok(claims)
}

/// Unfinished ledgers in `folder` whose writer was killed.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn dead_ledgers(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut ledgers = entries(folder)?;
    ledgers.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(ledger::UNFINISHED) && stage::age(path) > stage::GRACE
    });
    Ok(ledgers)
}

/// Removes downloads of killed uv processes: all of them if no uv runs, otherwise only old ones.
fn uv_leftovers(volume: &PythonVolume, deadline: Instant) -> Result<u64, Failure> {
    let mut removed = 0;
    for (_, cache) in uv_cache::uv_caches(volume)? {
        let mut unfinished = unfinished(&cache)?;
        if unfinished.is_empty() {
            continue;
        }
        let alone = lock::attempt_flock(&cache.join(".lock"))?;
        if alone.is_none() {
            unfinished.retain(|path| stage::age(path) > MAX_BUILD_TIME);
        }
        // Move them away under uv's lock, and delete them after releasing it.
        let away: Result<Vec<_>, _> = unfinished
            .iter()
            .map(|path| files::move_to_trash(path, &volume.trash()))
            .collect();
        drop(alone);
        let away: Vec<PathBuf> = away?.into_iter().flatten().collect();
        removed += delete_all(&away, deadline)?;
    }
    Ok(removed)
}

fn unfinished(cache: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_unfinished = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
    };
    let mut found = entries(cache)?;
    for bucket in found
        .clone()
        .iter()
        .filter(|path| path.is_dir() && !is_unfinished(path))
    {
        found.extend(entries(bucket)?);
    }
    found.retain(is_unfinished);
    Ok(found)
}

/// Removes build locks that have been unused for a day. A process that opened one before its removal notices, and
/// creates it again.
///
/// # Errors
/// The folder cannot be read, or a lock not be removed.
pub(super) fn dead_locks(
    folder: &Path,
    is_build_lock: impl Fn(&str) -> bool,
    deadline: Instant,
) -> Result<u64, Failure> {
    let mut removed = 0;
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !is_build_lock(&name) || stage::age(&path) <= MAX_BUILD_TIME || Instant::now() >= deadline {
            continue;
        }
        if let Some(_alone) = lock::attempt(&path, Mode::Exclusive, Missing::Absent)? {
            files::delete(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::Tenant;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn make_old(path: &Path) {
        let long_ago = std::time::SystemTime::now() - MAX_BUILD_TIME * 2;
        std::fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }

    #[test]
    fn downloads_of_a_killed_uv_are_removed_unless_another_uv_runs() {
        let dir = tempfile::tempdir().unwrap();
        let volume = PythonVolume::open_write(dir.path(), &Tenant::default()).unwrap();
        let cache = volume.uv_cache();
        for name in [".tmpAbc", "archive-v0/.tmpDef", "archive-v0/kept", ".tmpOld"] {
            std::fs::create_dir_all(cache.join(name)).unwrap();
        }
        let lock = std::fs::File::create(cache.join(".lock")).unwrap();
        make_old(&cache.join(".tmpOld"));
        lock.lock_shared().unwrap();
        assert_eq!(sweep(&volume, soon()).removed, 1);
        assert!(cache.join(".tmpAbc").exists() && !cache.join(".tmpOld").exists());
        lock.unlock().unwrap();
        assert_eq!(sweep(&volume, soon()).removed, 2);
        assert_eq!(
            entries(&cache.join("archive-v0")).unwrap(),
            [cache.join("archive-v0/kept")]
        );
        assert_eq!(sweep(&volume, soon()).removed, 0);
    }

    #[test]
    fn build_locks_unused_for_a_day_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let volume = PythonVolume::open_write(dir.path(), &Tenant::default()).unwrap();
        std::fs::create_dir_all(volume.locks()).unwrap();
        let [young, old, held, always] =
            ["default-a", "default-b", "default-c", "bytecode"].map(|name| volume.locks().join(name));
        for path in [&young, &old, &held, &always] {
            std::fs::File::create(path).unwrap();
        }
        let lock = lock::attempt(&held, Mode::Exclusive, Missing::Create).unwrap();
        [&old, &held, &always].into_iter().for_each(|path| make_old(path));
        assert_eq!(sweep(&volume, soon()).removed, 1);
        assert!(young.exists() && !old.exists() && held.exists() && always.exists());
        drop(lock);
    }

    #[test]
    fn a_sweep_past_its_deadline_leaves_the_rest_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let volume = PythonVolume::open_write(dir.path(), &Tenant::default()).unwrap();
        for name in ["a", "b"] {
            std::fs::create_dir_all(volume.trash().join(name)).unwrap();
        }
        let swept = sweep(&volume, Instant::now());
        assert!(swept.removed == 0 && swept.failure.is_none());
        assert_eq!(sweep(&volume, soon()).removed, 2);
    }
}
