//! Frees space on the Python volume: evicts the least recently used environments of all tenants, and never one in use.
//!
//! An eviction takes the environment's lease exclusively without waiting, renames the folder into `trash/`, and deletes
//! it there. A task that gets its shared lease in between sees that the inode is no longer at its path, and misses.
//!
//! The ledger says what an eviction frees: the environment's own files, and the parts that no other environment uses.
//! Environments are evicted one by one until the rest fits; then the unused parts are removed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hybrid_cache_model::budget::BudgetRequest;
use hybrid_cache_model::maintain::GcReport;
use hybrid_cache_model::protocol::PythonTools;
use hybrid_cache_model::{Failure, FailureKind};

use super::usage;
use crate::child::Deadline;
use crate::ledger::{self, OpenLedger, Part};
use crate::maintenance::budget::{Budget, lacking};
use crate::maintenance::leftovers;
use crate::maintenance::report::{nothing_to_evict, warn};
use crate::python::evict::{Evicted, evict};
use crate::python::uv::Uv;
use crate::python::uv_cache;
use crate::python::{PythonVolume, pool};
use crate::store::files;
use crate::store::folder::entries;
use crate::store::lock::Mode;
use crate::store::measure::DiskUsage;
use crate::store::stage::Stage;

/// How long to wait for another writer of the ledger, which may be enforcing the same budget.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait until publishers and uv release the parts to remove.
const PARTS_TIMEOUT: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Removes unreferenced files, then evicts environments until the volume is within its budget.
///
/// # Errors
/// The volume cannot be read or written. Steps that were skipped for safety are warnings in the report.
pub fn gc(
    volume: &PythonVolume,
    asked: &BudgetRequest,
    tools: Option<&PythonTools>,
    deadline: &Deadline,
) -> Result<GcReport, Failure> {
    let mut report = GcReport::default();
    let mut open = ledger::open_python(volume, deadline.instant())?;
    let before = usage::total(volume, &open.ledger)?;
    tidy(volume, &mut report)?;
    open.refresh_python(volume)?;
    let limit = Limit::new(volume, &open, asked)?;
    drop_copies_over(volume, &mut open, &limit)?;
    evict_to(volume, &mut open, &mut report, |live| limit.allows(live))?;
    let wheels = !limit.allows(open.ledger.held()) || report.evicted_environments > 0;
    report.orphans += remove_unused(volume, &mut open, wheels)?;
    prune(volume, tools, deadline, &mut report);
    open.ledger.set_rest(ledger::python_rest(volume)?);
    open.refresh_python(volume)?;
    let after = usage::total(volume, &open.ledger)?;
    report.freed_bytes = before.bytes.saturating_sub(after.bytes);
    report.freed_inodes = before.inodes.saturating_sub(after.inodes);
    report.over_budget = !limit.allows(open.ledger.held());
    Ok(report)
}

/// Keeps the volume within its budget after an addition. Reads the ledger and lists names, but does not walk the
/// volume.
///
/// # Errors
/// The volume cannot be read or written.
pub fn keep_within(volume: &PythonVolume, asked: &BudgetRequest) -> Result<GcReport, Failure> {
    let mut report = GcReport::default();
    let mut open = ledger::open_python(volume, Instant::now() + LEDGER_TIMEOUT)?;
    let before = open.ledger.held();
    let limit = Limit::new(volume, &open, asked)?;
    if limit.allows(before) || !open.is_ours() {
        report.over_budget = !limit.allows(before);
        return Ok(report);
    }
    drop_copies_over(volume, &mut open, &limit)?;
    let fixed = open.ledger.rest().unwrap_or_default();
    if !limit.allows(fixed) {
        report.over_budget = true;
        report.warnings.push(nothing_to_evict("Python", fixed));
        return Ok(report);
    }
    // Other processes keep publishing meanwhile and leave the eviction to this one. Each round evicts at least one
    // environment.
    while !limit.allows(open.ledger.held()) {
        let evicted = report.evicted_environments;
        evict_to(volume, &mut open, &mut report, |live| limit.allows(live))?;
        report.orphans += remove_unused(volume, &mut open, true)?;
        open.refresh_python(volume)?;
        if report.evicted_environments == evicted {
            break;
        }
    }
    let after = open.ledger.held();
    report.freed_bytes = before.bytes.saturating_sub(after.bytes);
    report.freed_inodes = before.inodes.saturating_sub(after.inodes);
    report.over_budget = !limit.allows(after);
    Ok(report)
}

/// A budget, and the disk usage that counts against it but is not in the ledger.
struct Limit {
    budget: Budget,
    beside: DiskUsage,
}

impl Limit {
    fn new(volume: &PythonVolume, open: &OpenLedger, asked: &BudgetRequest) -> Result<Limit, Failure> {
        let beside = usage::beside(volume)?;
        let mut held = open.ledger.held();
        held += beside;
        let budget = Budget::from_request(asked, volume.root(), held)?;
        Ok(Limit { budget, beside })
    }

    fn allows(&self, mut size: DiskUsage) -> bool {
        size += self.beside;
        self.budget.allows(size)
    }
}

/// Drops copies if the volume is over its budget and what cannot be evicted takes more than half of it.
fn drop_copies_over(volume: &PythonVolume, open: &mut OpenLedger, limit: &Limit) -> Result<(), Failure> {
    let mut fixed = open.ledger.rest().unwrap_or_default();
    fixed += limit.beside;
    if limit.allows(open.ledger.held()) || limit.budget.half().allows(fixed) {
        return Ok(());
    }
    drop_copies(volume, open)
}

/// Drops uv's copies of indexes, and built wheels that no preparation takes now.
fn drop_copies(volume: &PythonVolume, open: &mut OpenLedger) -> Result<(), Failure> {
    let caches = uv_cache::uv_caches(volume)?;
    let deadline = Instant::now() + PARTS_TIMEOUT;
    let mut away = Vec::new();
    for (_, cache) in &caches {
        if let Some(_alone) = uv_cache::lock_cache(cache, deadline, LOCK_PAUSE)? {
            for copy in uv_cache::copies(cache)? {
                away.extend(files::move_to_trash(&copy, &volume.trash())?);
            }
        }
    }
    open.ledger.set_rest(ledger::python_rest(volume)?);
    away.iter().try_for_each(|path| files::delete(path))
}

/// Frees space on a full volume: removes leftovers and unused parts, then evicts the least recently used environments
/// until 1/`part` of the file system is free or nothing more can be evicted; then copies go too.
///
/// # Errors
/// The volume cannot be read.
pub fn make_room(volume: &PythonVolume, part: u64) -> Result<GcReport, Failure> {
    let mut report = GcReport::default();
    tidy(volume, &mut report)?;
    let mut open = ledger::open_python(volume, Instant::now() + LEDGER_TIMEOUT)?;
    let before = open.ledger.held();
    report.orphans += remove_unused(volume, &mut open, true)?;
    // Each round evicts at least one environment, so there are at most as many rounds as environments.
    loop {
        let lacks = lacking(volume.root(), part)?;
        let evicted = report.evicted_environments;
        let mut enough = open.ledger.live();
        enough -= lacks;
        if lacks == DiskUsage::default() {
            break;
        }
        let enough = Budget {
            bytes: enough.bytes,
            inodes: enough.inodes,
        };
        evict_to(volume, &mut open, &mut report, |live| enough.allows(live))?;
        if report.evicted_environments == evicted {
            break;
        }
        report.orphans += remove_unused(volume, &mut open, true)?;
    }
    if lacking(volume.root(), part)? != DiskUsage::default() {
        drop_copies(volume, &mut open)?;
    }
    let after = open.ledger.held();
    report.freed_bytes = before.bytes.saturating_sub(after.bytes);
    report.freed_inodes = before.inodes.saturating_sub(after.inodes);
    Ok(report)
}

/// Counts what was added to uv's caches beside wheels that uv unpacked.
///
/// # Errors
/// The volume cannot be read or written.
pub fn count_copies(volume: &PythonVolume) -> Result<(), Failure> {
    let mut open = ledger::open_python(volume, Instant::now() + LEDGER_TIMEOUT)?;
    open.ledger.set_rest(ledger::python_rest(volume)?);
    Ok(())
}

/// Removes leftovers, and requests without an environment.
pub(in crate::maintenance) fn tidy(volume: &PythonVolume, report: &mut GcReport) -> Result<(), Failure> {
    let swept = leftovers::sweep(volume, Instant::now() + PARTS_TIMEOUT);
    report.swept += swept.removed;
    report.warnings.extend(swept.failure.map(|failure| failure.to_string()));
    report.dangling_requests += drop_dangling(volume)?;
    Ok(())
}

fn drop_dangling(volume: &PythonVolume) -> Result<u64, Failure> {
    let mut dropped = 0;
    for tenant in PythonVolume::all(volume.root())? {
        for request in entries(&tenant.requests())? {
            // If another process updates the request between the two calls, it is lost and the next task misses, which
            // is harmless.
            if !request.exists() {
                files::delete(&request)?;
                dropped += 1;
            }
        }
    }
    Ok(dropped)
}

/// Evicts in order of last use until `is_enough` accepts the size of the rest.
fn evict_to(
    volume: &PythonVolume,
    open: &mut OpenLedger,
    report: &mut GcReport,
    is_enough: impl Fn(DiskUsage) -> bool,
) -> Result<(), Failure> {
    let mut uses = open.ledger.uses();
    let mut live = open.ledger.live();
    let (mut evicted, mut in_use) = (0, 0);
    for member in open.ledger.oldest_first() {
        if is_enough(live) {
            break;
        }
        let environment = volume.root().join(&member.name);
        match evict(volume, &environment) {
            Ok(Evicted::Gone) => {}
            Ok(Evicted::InUse) => {
                in_use += 1;
                continue;
            }
            Err(failure) => {
                warn(report, &failure);
                // The next sweep deletes the rest in the trash.
                if environment.exists() {
                    continue;
                }
            }
        }
        evicted += 1;
        live -= member.own;
        for id in &member.parts {
            let users = uses.entry(*id).or_default();
            *users = users.saturating_sub(1);
            if let (0, Some(part)) = (*users, open.ledger.parts().get(id)) {
                live -= part.size;
            }
        }
        open.ledger.forget(&member.name);
    }
    if evicted > 0 {
        report.dangling_requests += drop_dangling(volume)?;
    }
    report.evicted_environments += evicted;
    // Every round counts the same ones again.
    report.kept_in_use = report.kept_in_use.max(in_use);
    Ok(())
}

/// Removes unused bytecode and, with `wheels`, unused wheels. Returns their number. Parts that a publisher or uv holds
/// now stay for the next time.
fn remove_unused(volume: &PythonVolume, open: &mut OpenLedger, wheels: bool) -> Result<u64, Failure> {
    if open.ledger.unused().is_empty() {
        return Ok(0);
    }
    let mut removed = Vec::new();
    let mut away = Vec::new();
    let deadline = Instant::now() + PARTS_TIMEOUT;
    match pool::lock(volume, Mode::Exclusive, deadline) {
        Err(failure) if failure.kind == FailureKind::Deadline => {}
        other => {
            let _alone = other?;
            // Environments published during the wait are in the ledger after this.
            open.refresh_python(volume)?;
            for part in open.ledger.unused().into_iter().filter(Part::is_bytecode) {
                away.extend(files::move_to_trash(&volume.root().join(&part.name), &volume.trash())?);
                removed.push(part.name);
            }
        }
    }
    let caches = if wheels {
        uv_cache::uv_caches(volume)?
    } else {
        Vec::new()
    };
    for (tenant, cache) in caches {
        let Some(_alone) = uv_cache::lock_cache(&cache, deadline, LOCK_PAUSE)? else {
            continue;
        };
        let inside = format!("{}/", tenant.relative(&cache));
        let mut lost = 0;
        for part in open
            .ledger
            .unused()
            .into_iter()
            .filter(|part| part.name.starts_with(&inside))
        {
            let wheel = volume.root().join(&part.name);
            // A wheel that is being installed already has its files linked there.
            if uv_cache::is_unshared(&wheel)? {
                away.extend(files::move_to_trash(&wheel, &volume.trash())?);
                removed.push(part.name);
                lost += 1;
            }
        }
        if lost > 0 {
            uv_cache::forget_gone(&cache)?;
        }
    }
    removed.iter().for_each(|name| open.ledger.forget(name));
    open.save();
    // Only the ledger's lock is held here.
    away.iter().try_for_each(|path: &PathBuf| files::delete(path))?;
    Ok(removed.len() as u64)
}

fn prune(volume: &PythonVolume, tools: Option<&PythonTools>, deadline: &Deadline, report: &mut GcReport) {
    let Some(tools) = tools else { return };
    let pruned = uv_cache::uv_caches(volume).and_then(|caches| {
        caches
            .iter()
            .filter(|(_, cache)| cache.exists())
            .try_for_each(|(tenant, cache)| {
                let stage = Stage::create(&tenant.staging())?;
                let work = stage.path();
                Uv {
                    tools,
                    cache,
                    work,
                    deadline,
                }
                .prune()
            })
    });
    if let Err(failure) = pruned {
        report.warnings.push(format!("uv's cache was not pruned: {failure}"));
    }
}
