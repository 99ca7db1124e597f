//! Frees space on the system volume.
//!
//! Only Nix deletes from its store. This code decides what Nix may delete: it removes index entries with their roots,
//! least recently used first, and never one that a task has leased. Nix's collector cannot see a task in another PID
//! namespace, so it runs alone on the volume, when everything that a task uses has a root.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;
use hybrid_cache_model::budget::BudgetRequest;
use hybrid_cache_model::maintain::GcReport;
use hybrid_cache_model::protocol::SystemTools;

use super::collection::{collection_deadline, lock_store, open_nix};
use crate::child::Deadline;
use crate::ledger::{self, Ledger, OpenLedger};
use crate::maintenance::budget::{Budget, lacking};
use crate::maintenance::leftovers::{self, SweepResult};
use crate::maintenance::report::{nothing_to_evict, warn};
use crate::store::folder::entries;
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::measure::Counter;
use crate::store::{build_failure, files, stage};
use crate::system::nix::{self, Nix, STANDING, WorkDir};
use crate::system::{STORE_LOCK, SystemVolume, index_entries, path_hashes};

/// Time limit for removing unused locks.
const LOCK_SWEEP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for another writer of the ledger.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Removes unreferenced store paths, then evicts index entries until the volume is within its budget.
///
/// # Errors
/// The volume cannot be read or written. Steps that were skipped for safety are warnings in the report.
pub fn gc(
    volume: &SystemVolume,
    asked: &BudgetRequest,
    tools: Option<&SystemTools>,
    deadline: &Deadline,
) -> Result<GcReport, Failure> {
    let open = ledger::open_system(volume, deadline.instant())?;
    let budget = Budget::from_request(asked, volume.root(), open.ledger.held())?;
    let alone = lock_store(volume, collection_deadline(deadline))?;
    collect(volume, open, tools, deadline, budget, alone)
}

/// Like [`gc`], but does nothing if the volume is within its budget. Does not walk the volume.
///
/// # Errors
/// As those of [`gc`].
pub fn keep_within(
    volume: &SystemVolume,
    asked: &BudgetRequest,
    tools: &SystemTools,
    deadline: &Deadline,
) -> Result<GcReport, Failure> {
    let open = ledger::open_system(volume, Instant::now() + LEDGER_TIMEOUT)?;
    let held = open.ledger.held();
    let budget = Budget::from_request(asked, volume.root(), held)?;
    if budget.allows(held) || !open.is_ours() {
        return Ok(GcReport {
            over_budget: !budget.allows(held),
            ..GcReport::default()
        });
    }
    let mut fixed = open.ledger.rest().unwrap_or_default();
    fixed -= Counter::new().measure(&nix::cache(volume))?;
    if !budget.allows(fixed) {
        return Ok(GcReport {
            over_budget: true,
            warnings: vec![nothing_to_evict("system", fixed)],
            ..GcReport::default()
        });
    }
    let alone = lock_store(volume, collection_deadline(deadline))?;
    collect(volume, open, Some(tools), deadline, budget, alone)
}

/// Frees space on a full volume: removes everything unreferenced, then evicts the least recently used entries until
/// 1/`part` of the file system is free.
///
/// # Errors
/// As those of [`gc`].
pub fn make_room(
    volume: &SystemVolume,
    tools: &SystemTools,
    deadline: &Deadline,
    part: u64,
) -> Result<GcReport, Failure> {
    // Wait up to the whole deadline: builds may take minutes, and without space this one fails. Wait before opening the
    // ledger.
    let alone = lock_store(volume, deadline.instant())?;
    let open = ledger::open_system(volume, Instant::now() + LEDGER_TIMEOUT)?;
    let mut most = open.ledger.held();
    most -= lacking(volume.root(), part)?;
    let budget = Budget {
        bytes: most.bytes,
        inodes: most.inodes,
    };
    collect(volume, open, Some(tools), deadline, budget, alone)
}

/// Collects garbage, then evicts and collects until the volume is within `budget` or nothing more can be evicted.
fn collect(
    volume: &SystemVolume,
    mut open: OpenLedger,
    tools: Option<&SystemTools>,
    deadline: &Deadline,
    budget: Budget,
    alone: Option<Lock>,
) -> Result<GcReport, Failure> {
    let before = open.ledger.held();
    let mut report = GcReport {
        over_budget: !budget.allows(before),
        ..GcReport::default()
    };
    let Some(_alone) = alone else {
        let warning = "system packages are being built: nothing was collected";
        report.warnings.push(warning.to_owned());
        return Ok(report);
    };
    let swept = sweep(volume)?;
    report.swept = swept.removed;
    report.warnings.extend(swept.failure.map(|failure| failure.to_string()));
    let Some(tools) = tools else {
        report
            .warnings
            .push("no Nix program is given: the store was measured, and nothing was collected".to_owned());
        return Ok(report);
    };
    let work_dir = WorkDir::standing(volume)?;
    let nix = open_nix(volume, tools, &work_dir, deadline)?;
    collect_store(volume, &nix, &mut open)?;
    if !budget.allows(open.ledger.held()) {
        drop_fetched(volume, &mut open, budget)?;
    }
    // Each round evicts at least one entry, so there are at most as many rounds as entries.
    while !budget.allows(open.ledger.held()) && evict_to(volume, &mut open.ledger, budget, &mut report)? > 0 {
        collect_store(volume, &nix, &mut open)?;
    }
    let after = open.ledger.held();
    report.over_budget = !budget.allows(after);
    report.freed_bytes = before.bytes.saturating_sub(after.bytes);
    report.freed_inodes = before.inodes.saturating_sub(after.inodes);
    Ok(report)
}

/// Drops Nix's cache if what cannot be evicted takes more than half of the budget.
fn drop_fetched(volume: &SystemVolume, open: &mut OpenLedger, budget: Budget) -> Result<(), Failure> {
    if budget.half().allows(open.ledger.rest().unwrap_or_default()) {
        return Ok(());
    }
    files::delete(&nix::cache(volume))?;
    open.ledger.set_rest(ledger::system_rest(volume)?);
    Ok(())
}

/// Lets Nix delete what has no root, and measures the rest.
fn collect_store(volume: &SystemVolume, nix: &Nix<'_>, open: &mut OpenLedger) -> Result<(), Failure> {
    nix.run(&["store", "gc"])?;
    open.refresh_system(volume)?;
    open.ledger.set_rest(ledger::system_rest(volume)?);
    Ok(())
}

/// Removes what killed preparations left, if no build is running. Does not wait.
///
/// # Errors
/// Something cannot be removed.
pub fn sweep_if_idle(volume: &SystemVolume) -> Result<u64, Failure> {
    let alone = lock::attempt(&volume.lock_path(STORE_LOCK), Mode::Exclusive, Missing::Absent)?;
    let swept = alone.map_or(Ok(SweepResult::default()), |_alone| sweep(volume))?;
    swept.failure.map_or(Ok(swept.removed), Err)
}

/// Removes what killed preparations left. The caller holds the store's lock, because a running preparation looks the
/// same.
fn sweep(volume: &SystemVolume) -> Result<SweepResult, Failure> {
    let mut left = entries(&volume.state().join("work"))?;
    left.retain(|path| path.file_name() != Some(OsStr::new(STANDING)));
    left.extend(leftovers::dead_ledgers(&volume.state())?);
    left.extend(entries(&volume.root().join("var/nix/builds"))?);
    for tenant in volume.all()? {
        let index: Vec<PathBuf> = entries(&tenant.index())?;
        let has_entry = |roots: &PathBuf| index.iter().any(|entry| entry.file_stem() == roots.file_name());
        left.extend(entries(&tenant.roots())?.into_iter().filter(|roots| !has_entry(roots)));
    }
    let is_gone = |listing: &PathBuf| {
        let name = listing.file_name().unwrap_or_default();
        // A listing is written without the store's lock, after the task may start.
        if name.as_encoded_bytes().starts_with(b".") {
            return stage::age(listing) > stage::GRACE;
        }
        volume.root().join("store").join(name).symlink_metadata().is_err()
    };
    left.extend(entries(&path_hashes::folder(volume))?.into_iter().filter(is_gone));
    let mut swept = SweepResult::default();
    left.iter().for_each(|path| swept.note(files::delete(path).map(|()| 1)));
    let is_key = |name: &str| {
        let name = name.strip_suffix(build_failure::SUFFIX).unwrap_or(name);
        name.len() == 32 && name.bytes().all(|letter| letter.is_ascii_hexdigit())
    };
    let locks = volume.state().join("locks");
    swept.note(leftovers::dead_locks(
        &locks,
        is_key,
        Instant::now() + LOCK_SWEEP_TIMEOUT,
    ));
    Ok(swept)
}

/// Evicts the least recently used entries, at least one, until the rest fits into `budget`. Returns their number.
fn evict_to(volume: &SystemVolume, ledger: &mut Ledger, budget: Budget, report: &mut GcReport) -> Result<u64, Failure> {
    let tenants: BTreeMap<PathBuf, SystemVolume> = index_entries::all(volume)?
        .into_iter()
        .map(|(tenant, path)| (path, tenant))
        .collect();
    let mut uses = ledger.uses();
    let mut live = ledger.live();
    let (mut evicted, mut in_use) = (0, 0);
    for member in ledger.oldest_first() {
        if evicted > 0 && budget.allows(live) {
            break;
        }
        let path = volume.root().join(&member.name);
        let Some(tenant) = tenants.get(&path) else { continue };
        match index_entries::evict(tenant, &path) {
            Ok(true) => {}
            Ok(false) => {
                in_use += 1;
                continue;
            }
            Err(failure) => {
                warn(report, &failure);
                continue;
            }
        }
        evicted += 1;
        for id in &member.parts {
            let users = uses.entry(*id).or_default();
            *users = users.saturating_sub(1);
            if let (0, Some(part)) = (*users, ledger.parts().get(id)) {
                live -= part.size;
            }
        }
        ledger.forget(&member.name);
    }
    report.evicted_system_sets += evicted;
    // Every round counts the same entries again.
    report.kept_in_use = report.kept_in_use.max(in_use);
    Ok(evicted)
}
