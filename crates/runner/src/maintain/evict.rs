//! Making room on the Python volume: least recently used environments first, whosever they are, and never one in use.
//!
//! An evictor takes the environment's lease exclusively without waiting, renames the folder into `trash/`, and deletes
//! it there. A task that got its shared lease in between sees that the inode is no longer at its path and misses.
//!
//! What an eviction frees is known from the ledger: the environment's own files, and the parts that no other environment
//! has. Environments go one by one until those that are left fit, and the parts that nobody has any more go with them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::budget::BudgetRequest;
use hybrid_cache_model::maintain::GcReport;
use hybrid_cache_model::protocol::PythonTools;
use hybrid_cache_model::{Failure, FailureKind};

use super::budget::Budget;
use super::leftovers;
use super::{orphans, usage};
use crate::child::Patience;
use crate::ledger::{self, Open, Part};
use crate::python::uv::Uv;
use crate::python::{PythonVolume, pool};
use crate::store::lock::{self, Missing, Mode};
use crate::store::measure::Taken;
use crate::store::publish;
use crate::store::stage::{LEASE, Stage};

/// How long keeping a budget waits for another writer of the ledger: that one keeps the same budget.
const LEDGER_WAIT: Duration = Duration::from_secs(2);
/// How long it waits for publishers, and for uv, to let go of what is to be removed.
const PARTS_WAIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Removes what nothing refers to, and then environments until the volume is within its budget.
///
/// # Errors
/// The volume cannot be read or written. What could not be done without harm is a warning in the report.
pub fn gc(
    volume: &PythonVolume,
    asked: &BudgetRequest,
    tools: Option<&PythonTools>,
    patience: &Patience,
) -> Result<GcReport, Failure> {
    let mut report = GcReport::default();
    let mut open = ledger::open_python(volume, patience.deadline())?;
    let before = usage::taken(volume, &open.ledger)?;
    tidy(volume, &mut report)?;
    open.refresh_python(volume)?;
    let limit = Limit::of(volume, &open, asked)?;
    drop_indexes(volume, &mut open, &limit)?;
    evict_to(volume, &mut open, &mut report, |live| limit.allows(live))?;
    let wheels = !limit.allows(open.ledger.held()) || report.evicted_environments > 0;
    report.orphans += remove_unused(volume, &mut open, wheels)?;
    prune(volume, tools, patience, &mut report);
    open.ledger.set_rest(ledger::python_rest(volume)?);
    open.refresh_python(volume)?;
    let after = usage::taken(volume, &open.ledger)?;
    report.freed_bytes = before.bytes.saturating_sub(after.bytes);
    report.freed_inodes = before.inodes.saturating_sub(after.inodes);
    report.over_budget = !limit.allows(open.ledger.held());
    Ok(report)
}

/// Keeps the volume within its budget after something was added. Reads the ledger, lists names, and walks nothing.
///
/// # Errors
/// The volume cannot be read or written.
pub fn keep_within(volume: &PythonVolume, asked: &BudgetRequest) -> Result<GcReport, Failure> {
    let mut report = GcReport::default();
    let mut open = ledger::open_python(volume, Instant::now() + LEDGER_WAIT)?;
    let before = open.ledger.held();
    let limit = Limit::of(volume, &open, asked)?;
    if limit.allows(before) || !open.is_ours() {
        report.over_budget = !limit.allows(before);
        return Ok(report);
    }
    drop_indexes(volume, &mut open, &limit)?;
    let fixed = open.ledger.rest().unwrap_or_default();
    if !limit.allows(fixed) {
        report.over_budget = true;
        report.warnings.push(nothing_to_evict("Python", fixed));
        return Ok(report);
    }
    // Others publish meanwhile and leave it to this one. Each round evicts one at least.
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

/// A budget, and what counts against it that is in no ledger.
struct Limit {
    budget: Budget,
    beside: Taken,
}

impl Limit {
    fn of(volume: &PythonVolume, open: &Open, asked: &BudgetRequest) -> Result<Limit, Failure> {
        let beside = usage::beside(volume)?;
        let mut held = open.ledger.held();
        held += beside;
        let budget = Budget::of(asked, volume.root(), held)?;
        Ok(Limit { budget, beside })
    }

    fn allows(&self, mut taken: Taken) -> bool {
        taken += self.beside;
        self.budget.allows(taken)
    }
}

/// Why nothing is evicted to keep a budget that what cannot be evicted exceeds: that would come to nothing.
pub(super) fn nothing_to_evict(volume: &str, fixed: Taken) -> String {
    format!(
        "the {volume} volume is over its budget with {} bytes that no eviction frees: nothing was evicted",
        fixed.bytes
    )
}

/// Drops uv's copies of indexes from a volume over its budget, where what cannot be evicted has more than half of that.
fn drop_indexes(volume: &PythonVolume, open: &mut Open, limit: &Limit) -> Result<(), Failure> {
    let mut fixed = open.ledger.rest().unwrap_or_default();
    fixed += limit.beside;
    if limit.allows(open.ledger.held()) || limit.budget.half().allows(fixed) {
        return Ok(());
    }
    let caches = orphans::uv_caches(volume)?;
    let deadline = Instant::now() + PARTS_WAIT;
    let mut away = Vec::new();
    for (_, cache) in &caches {
        if let Some(_alone) = orphans::alone_with(cache, deadline, PAUSE)? {
            for index in orphans::indexes(cache)? {
                away.extend(publish::take_away(&index, &volume.trash())?);
            }
        }
    }
    open.ledger.set_rest(ledger::python_rest(volume)?);
    away.iter().try_for_each(|path| publish::delete(path))
}

/// Makes room on a full volume: left-overs, what nobody shares, and least recently used environments until a `part`-th of
/// the file system is free, or nothing is left that could go.
///
/// # Errors
/// The volume cannot be read.
pub fn make_room(volume: &PythonVolume, part: u64) -> Result<GcReport, Failure> {
    let mut report = GcReport::default();
    tidy(volume, &mut report)?;
    let mut open = ledger::open_python(volume, Instant::now() + LEDGER_WAIT)?;
    let before = open.ledger.held();
    report.orphans += remove_unused(volume, &mut open, true)?;
    // Each round evicts an environment at least, so there are no more rounds than environments.
    loop {
        let lacks = lacking(volume.root(), part)?;
        let evicted = report.evicted_environments;
        let mut enough = open.ledger.live();
        enough -= lacks;
        if lacks == Taken::default() {
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
    let after = open.ledger.held();
    report.freed_bytes = before.bytes.saturating_sub(after.bytes);
    report.freed_inodes = before.inodes.saturating_sub(after.inodes);
    Ok(report)
}

/// What a file system lacks of having a `part`-th of itself free.
pub(super) fn lacking(root: &Path, part: u64) -> Result<Taken, Failure> {
    let found = usage::file_system("", root)?;
    Ok(Taken {
        bytes: (found.total_bytes / part).saturating_sub(found.free_bytes),
        inodes: (found.total_inodes / part).saturating_sub(found.free_inodes),
        entries: 0,
    })
}

/// Left-overs, and requests without an environment.
pub(super) fn tidy(volume: &PythonVolume, report: &mut GcReport) -> Result<(), Failure> {
    let swept = leftovers::sweep(volume, Instant::now() + PARTS_WAIT);
    report.swept += swept.removed;
    report.warnings.extend(swept.failure.map(|failure| failure.to_string()));
    report.dangling_requests += drop_dangling(volume)?;
    Ok(())
}

fn drop_dangling(volume: &PythonVolume) -> Result<u64, Failure> {
    let mut dropped = 0;
    for tenant in PythonVolume::all(volume.root())? {
        for request in super::entries(&tenant.requests())? {
            // Should it be pointed anew between the two calls, a request is lost and its next task misses: no harm.
            if !request.exists() {
                publish::delete(&request)?;
                dropped += 1;
            }
        }
    }
    Ok(dropped)
}

/// Evicts from the least recently used on until `is_enough` is content with what those that are left take.
fn evict_to(
    volume: &PythonVolume,
    open: &mut Open,
    report: &mut GcReport,
    is_enough: impl Fn(Taken) -> bool,
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
                // What is left of it in the trash is for the next sweep.
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
                live -= part.taken;
            }
        }
        open.ledger.forget(&member.name);
    }
    if evicted > 0 {
        report.dangling_requests += drop_dangling(volume)?;
    }
    report.evicted_environments += evicted;
    // The same ones are met again in every round.
    report.kept_in_use = report.kept_in_use.max(in_use);
    Ok(())
}

/// What cannot be removed, such as another user's, holds up nothing else; each is told once.
pub(super) fn warn(report: &mut GcReport, failure: &Failure) {
    let warning = failure.to_string();
    if !report.warnings.contains(&warning) {
        report.warnings.push(warning);
    }
}

/// What became of an environment that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// It is gone.
    Gone,
    /// A task runs from it.
    InUse,
}

/// Removes one environment, unless a task runs from it.
///
/// # Errors
/// The volume cannot be written.
pub fn evict(volume: &PythonVolume, environment: &Path) -> Result<Evicted, Failure> {
    let lease = environment.join(LEASE);
    let held = lock::attempt(&lease, Mode::Exclusive, Missing::Absent)?;
    // One without a lease file is damaged: nobody can be running from it.
    if held.is_none() && lease.exists() {
        return Ok(Evicted::InUse);
    }
    publish::discard(environment, &volume.trash())?;
    Ok(Evicted::Gone)
}

/// Removes byte-code that no environment has, and wheels likewise where they are to go; how many. What publishers or uv hold at this moment stays for the next time.
fn remove_unused(volume: &PythonVolume, open: &mut Open, wheels: bool) -> Result<u64, Failure> {
    if open.ledger.unused().is_empty() {
        return Ok(0);
    }
    let mut removed = Vec::new();
    let mut away = Vec::new();
    let deadline = Instant::now() + PARTS_WAIT;
    match pool::lock(volume, Mode::Exclusive, deadline) {
        Err(failure) if failure.kind == FailureKind::Deadline => {}
        other => {
            let _alone = other?;
            // Whoever published while this waited is in the ledger now.
            open.refresh_python(volume)?;
            for part in open.ledger.unused().into_iter().filter(Part::is_byte_code) {
                away.extend(publish::take_away(&volume.root().join(&part.name), &volume.trash())?);
                removed.push(part.name);
            }
        }
    }
    let caches = if wheels {
        orphans::uv_caches(volume)?
    } else {
        Vec::new()
    };
    for (tenant, cache) in caches {
        let Some(_alone) = orphans::alone_with(&cache, deadline, PAUSE)? else {
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
            // One that is on its way into an environment has its files linked there already.
            if orphans::is_unshared(&wheel)? {
                away.extend(publish::take_away(&wheel, &volume.trash())?);
                removed.push(part.name);
                lost += 1;
            }
        }
        if lost > 0 {
            orphans::forget_gone(&cache)?;
        }
    }
    removed.iter().for_each(|name| open.ledger.forget(name));
    open.save();
    // No lock is held for this but the ledger's.
    away.iter().try_for_each(|path: &PathBuf| publish::delete(path))?;
    Ok(removed.len() as u64)
}

fn prune(volume: &PythonVolume, tools: Option<&PythonTools>, patience: &Patience, report: &mut GcReport) {
    let Some(tools) = tools else { return };
    let pruned = orphans::uv_caches(volume).and_then(|caches| {
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
                    patience,
                }
                .prune()
            })
    });
    if let Err(failure) = pruned {
        report.warnings.push(format!("uv's cache was not pruned: {failure}"));
    }
}
