//! Removes what a verification found damaged. The next run builds it again from the package index.
//!
//! Unused objects are deleted. An environment that a task runs from is marked instead: lookups miss it from then on,
//! and the preparation that rebuilds it removes it once it is free. The damaged inode leaves uv's cache first, because
//! a concurrent build would link to it again.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::{GcReport, VerifyReport};

use super::gc::tidy;
use super::verify::{PythonFindings, examine};
use crate::child::Deadline;
use crate::ledger::LEDGER_FILE;
use crate::python::environment::DAMAGED_FILE;
use crate::python::evict::{Evicted, evict};
use crate::python::uv_cache;
use crate::python::{PythonVolume, pool};
use crate::store::digest::Inode;
use crate::store::files;
use crate::store::folder::{entries, relative};
use crate::store::lock::Mode;

/// How long to wait until uv and publishers release their locks.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Verifies, and removes what is damaged. The report lists both.
///
/// # Errors
/// The volume cannot be read or written, or uv did not let go of its cache in time.
pub fn repair(volume: &PythonVolume, deadline: &Deadline) -> Result<VerifyReport, Failure> {
    let mut findings = examine(volume)?;
    let deadline = deadline.instant().min(Instant::now() + LOCK_TIMEOUT);
    wheels(volume, &mut findings, deadline)?;
    bytecode(volume, &mut findings, deadline)?;
    environments(&mut findings)?;
    let mut tidied = GcReport::default();
    tidy(volume, &mut tidied)?;
    // Its measurements of the removed parts are stale.
    files::delete(&volume.root().join(LEDGER_FILE))?;
    let swept = tidied.swept + tidied.dangling_requests;
    if swept > 0 {
        findings.report.repaired.push(format!("{swept} leftovers: removed"));
    }
    Ok(findings.report)
}

/// Removes from uv's caches every unpacked wheel that has a damaged inode.
fn wheels(volume: &PythonVolume, findings: &mut PythonFindings, deadline: Instant) -> Result<(), Failure> {
    if findings.inodes.is_empty() {
        return Ok(());
    }
    for (tenant, cache) in uv_cache::uv_caches(volume)? {
        if !cache.join(".lock").exists() {
            continue;
        }
        let Some(_alone) = uv_cache::lock_cache(&cache, deadline, LOCK_PAUSE)? else {
            let message = format!("uv kept {} in use", cache.display());
            let failure = Failure::new(hybrid_cache_model::FailureKind::Deadline, message);
            return Err(failure.hint("run `cargo xtask cache verify --repair` again when no task is being prepared"));
        };
        for bucket in uv_cache::archives(&cache)? {
            for wheel in entries(&bucket)? {
                if wheel.is_dir() && holds(&wheel, &findings.inodes)? {
                    files::discard(&wheel, &tenant.trash())?;
                    let line = format!("{}: removed from uv's cache", relative(volume.root(), &wheel));
                    findings.report.repaired.push(line);
                }
            }
        }
        uv_cache::forget_gone(&cache)?;
    }
    Ok(())
}

fn holds(folder: &Path, inodes: &BTreeSet<Inode>) -> Result<bool, Failure> {
    for path in entries(folder)? {
        let Ok(found) = path.symlink_metadata() else { continue };
        if found.is_dir() && holds(&path, inodes)? || inodes.contains(&(found.dev(), found.ino())) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn bytecode(volume: &PythonVolume, findings: &mut PythonFindings, deadline: Instant) -> Result<(), Failure> {
    if findings.bytecode.is_empty() {
        return Ok(());
    }
    // Without the lock, a publisher could still link to the folder.
    let _alone = pool::lock(volume, Mode::Exclusive, deadline)?;
    for folder in std::mem::take(&mut findings.bytecode) {
        files::discard(&folder, &volume.trash())?;
        let line = format!("{}: removed", relative(volume.root(), &folder));
        findings.report.repaired.push(line);
    }
    Ok(())
}

fn environments(findings: &mut PythonFindings) -> Result<(), Failure> {
    for (volume, environment) in std::mem::take(&mut findings.environments) {
        let name = relative(volume.root(), &environment);
        let line = match evict(&volume, &environment)? {
            Evicted::Gone => format!("{name}: removed"),
            Evicted::InUse => {
                files::write_atomic(&environment.join(DAMAGED_FILE), b"found by a verification\n")?;
                format!("{name}: marked, because a task uses it")
            }
        };
        findings.report.repaired.push(line);
    }
    Ok(())
}
