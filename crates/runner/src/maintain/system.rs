//! The system volume between tasks: what it holds, making room, and whether all of it is whole.
//!
//! Only Nix itself deletes from its store. What is ours is the choice of what it may delete: an index entry goes with
//! its roots, least recently used first, and never one whose lease a task holds. Nix's collector cannot see a task in
//! another PID namespace, so it runs alone on the volume, and everything a task uses has a root by then.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::budget::BudgetRequest;
use hybrid_cache_model::maintain::{GarbageUsage, GcReport, LayerUsage, UsageReport};
use hybrid_cache_model::protocol::SystemTools;
use hybrid_cache_model::{Failure, FailureKind};

use super::budget::Budget;
use super::entries;
use super::leftovers::{self, Swept};
use crate::child::Patience;
use crate::ledger::{self, Ledger, Open};
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::measure::{Counter, Taken};
use crate::store::{failed, publish, stage};
use crate::system::nix::{self, Nix, STANDING, Workplace};
use crate::system::provider::{self, Bootstrap};
use crate::system::{COLLECTION_LOCK, IndexEntry, STORE_LOCK, SystemVolume, content};

pub use super::store::{clear_damaged, repair, verify};

/// How long a collection waits for builds at work; they may take minutes, and a collection can come again.
const BUILDS_WAIT: Duration = Duration::from_secs(5);
/// How long removing dead locks may take.
const LOCKS: Duration = Duration::from_secs(2);
/// How long to wait for another writer of the ledger.
const LEDGER_WAIT: Duration = Duration::from_secs(2);

/// Measures the volume: store paths by the ledger, the rest by a look.
///
/// # Errors
/// A folder cannot be read.
pub fn usage(volume: &SystemVolume) -> Result<UsageReport, Failure> {
    let mut layers = Vec::new();
    let mut add = |layer: &str, Taken { bytes, inodes, entries }: Taken| {
        let layer = layer.to_owned();
        layers.push(LayerUsage {
            layer,
            bytes,
            inodes,
            entries,
        });
    };
    let mut store = Counter::itself(&volume.root().join("store"));
    let (mut garbage, mut largest) = (Vec::new(), Vec::new());
    if volume.is_laid_out()? {
        let open = ledger::open_system(volume, Instant::now() + LEDGER_WAIT)?;
        open.ledger.parts().values().for_each(|part| store += part.taken);
        let mut unused = Taken::default();
        open.ledger.unused().iter().for_each(|part| unused += part.taken);
        garbage.push(GarbageUsage {
            volume: "system".to_owned(),
            bytes: unused.bytes,
            inodes: unused.inodes,
        });
        largest = super::largest::of(&open.ledger, "system", |member| {
            let entry = read(&volume.root().join(&member.name));
            entry.map(|entry| entry.packages).unwrap_or_default()
        });
    } else {
        store = Counter::new().take(&volume.root().join("store"))?;
    }
    add("system/store", store);
    add("system/db", Counter::new().take(&volume.root().join("var/nix"))?);
    add("system/index", Counter::new().take(&volume.state())?);
    let file_systems = vec![super::usage::file_system("system", volume.root())?];
    let system_sets = all_entries(volume)?.len() as u64;
    Ok(UsageReport {
        layers,
        file_systems,
        system_sets,
        garbage,
        largest,
        ..UsageReport::default()
    })
}

/// Removes what nothing refers to, and then index entries until the volume is within its budget.
///
/// # Errors
/// The volume cannot be read or written. What could not be done without harm is a warning in the report.
pub fn gc(
    volume: &SystemVolume,
    asked: &BudgetRequest,
    tools: Option<&SystemTools>,
    patience: &Patience,
) -> Result<GcReport, Failure> {
    let open = ledger::open_system(volume, patience.deadline())?;
    let budget = Budget::of(asked, volume.root(), open.ledger.held())?;
    let alone = alone(volume, soon(patience))?;
    collect(volume, open, tools, patience, budget, alone)
}

/// Like [`gc`], but leaves everything alone where the volume is within its budget already. Walks nothing.
///
/// # Errors
/// As those of [`gc`].
pub fn keep_within(
    volume: &SystemVolume,
    asked: &BudgetRequest,
    tools: &SystemTools,
    patience: &Patience,
) -> Result<GcReport, Failure> {
    let open = ledger::open_system(volume, Instant::now() + LEDGER_WAIT)?;
    let held = open.ledger.held();
    let budget = Budget::of(asked, volume.root(), held)?;
    if budget.allows(held) || !open.is_ours() {
        return Ok(GcReport {
            over_budget: !budget.allows(held),
            ..GcReport::default()
        });
    }
    let mut fixed = open.ledger.rest().unwrap_or_default();
    fixed -= Counter::new().take(&nix::cache(volume))?;
    if !budget.allows(fixed) {
        return Ok(GcReport {
            over_budget: true,
            warnings: vec![super::evict::nothing_to_evict("system", fixed)],
            ..GcReport::default()
        });
    }
    let alone = alone(volume, soon(patience))?;
    collect(volume, open, Some(tools), patience, budget, alone)
}

/// Makes room on a full volume: everything unreferenced, and least recently used entries until a `part`-th of the file
/// system is free.
///
/// # Errors
/// As those of [`gc`].
pub fn make_room(
    volume: &SystemVolume,
    tools: &SystemTools,
    patience: &Patience,
    part: u64,
) -> Result<GcReport, Failure> {
    // Builds at work may take minutes, and without room this one comes to nothing. Waited for before the ledger is open.
    let alone = alone(volume, patience.deadline())?;
    let open = ledger::open_system(volume, Instant::now() + LEDGER_WAIT)?;
    let mut most = open.ledger.held();
    most -= super::evict::lacking(volume.root(), part)?;
    let budget = Budget {
        bytes: most.bytes,
        inodes: most.inodes,
    };
    collect(volume, open, Some(tools), patience, budget, alone)
}

/// Collects what is unreferenced, then evicts and collects until the volume is within `budget` or nothing more can go.
fn collect(
    volume: &SystemVolume,
    mut open: Open,
    tools: Option<&SystemTools>,
    patience: &Patience,
    budget: Budget,
    alone: Option<Lock>,
) -> Result<GcReport, Failure> {
    let before = open.ledger.held();
    let mut report = GcReport {
        over_budget: !budget.allows(before),
        ..GcReport::default()
    };
    let Some(_alone) = alone else {
        let warning = "system packages are being made at this moment: nothing was collected";
        report.warnings.push(warning.to_owned());
        return Ok(report);
    };
    let swept = sweep(volume)?;
    report.swept = swept.removed;
    report.warnings.extend(swept.failure.map(|failure| failure.to_string()));
    let Some(tools) = tools else {
        report
            .warnings
            .push("no nix is given: the store is only measured".to_owned());
        return Ok(report);
    };
    let workplace = Workplace::standing(volume)?;
    let nix = nix(volume, tools, &workplace, patience)?;
    collect_store(volume, &nix, &mut open)?;
    if !budget.allows(open.ledger.held()) {
        drop_fetched(volume, &mut open, budget)?;
    }
    // Each round evicts at least one entry, so there are no more rounds than entries.
    while !budget.allows(open.ledger.held()) && evict_to(volume, &mut open.ledger, budget, &mut report)? > 0 {
        collect_store(volume, &nix, &mut open)?;
    }
    let after = open.ledger.held();
    report.over_budget = !budget.allows(after);
    report.freed_bytes = before.bytes.saturating_sub(after.bytes);
    report.freed_inodes = before.inodes.saturating_sub(after.inodes);
    Ok(report)
}

/// Drops what Nix fetched and evaluated, where what cannot be evicted has more than half of the budget.
fn drop_fetched(volume: &SystemVolume, open: &mut Open, budget: Budget) -> Result<(), Failure> {
    if budget.half().allows(open.ledger.rest().unwrap_or_default()) {
        return Ok(());
    }
    publish::delete(&nix::cache(volume))?;
    open.ledger.set_rest(ledger::system_rest(volume)?);
    Ok(())
}

/// Lets Nix delete what has no root, and measures what that left.
fn collect_store(volume: &SystemVolume, nix: &Nix<'_>, open: &mut Open) -> Result<(), Failure> {
    nix.run(&["store", "gc"])?;
    open.refresh_system(volume)?;
    open.ledger.set_rest(ledger::system_rest(volume)?);
    Ok(())
}

/// When a collection gives up that can come again.
pub(super) fn soon(patience: &Patience) -> Instant {
    patience.deadline().min(Instant::now() + BUILDS_WAIT)
}

/// The store's lock, held alone: no build is at work, and none begins. `None` where one was until `deadline`.
pub(super) fn alone(volume: &SystemVolume, deadline: Instant) -> Result<Option<Lock>, Failure> {
    publish::ensure_folder(&volume.state().join("locks"))?;
    let waited = lock::wait(&volume.lock_path(COLLECTION_LOCK), Mode::Exclusive, deadline)
        .and_then(|_builds_wait| lock::wait(&volume.lock_path(STORE_LOCK), Mode::Exclusive, deadline));
    match waited {
        Ok(lock) => Ok(Some(lock)),
        Err(failure) if failure.kind == FailureKind::Deadline => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Removes what killed preparations left, where no build is at work at this moment. Waits for nobody.
///
/// # Errors
/// Something cannot be removed.
pub fn sweep_if_idle(volume: &SystemVolume) -> Result<u64, Failure> {
    let alone = lock::attempt(&volume.lock_path(STORE_LOCK), Mode::Exclusive, Missing::Absent)?;
    let swept = alone.map_or(Ok(Swept::default()), |_alone| sweep(volume))?;
    swept.failure.map_or(Ok(swept.removed), Err)
}

/// Removes what killed preparations left. Only for who is alone: a live one looks just like it.
fn sweep(volume: &SystemVolume) -> Result<Swept, Failure> {
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
        // A listing is written without the store's lock, after the task was told that it may start.
        if name.as_encoded_bytes().starts_with(b".") {
            return stage::age(listing) > stage::GRACE;
        }
        volume.root().join("store").join(name).symlink_metadata().is_err()
    };
    left.extend(entries(&content::folder(volume))?.into_iter().filter(is_gone));
    let mut swept = Swept::default();
    left.iter()
        .for_each(|path| swept.note(publish::delete(path).map(|()| 1)));
    let is_key = |name: &str| {
        let name = name.strip_suffix(failed::SUFFIX).unwrap_or(name);
        name.len() == 32 && name.bytes().all(|letter| letter.is_ascii_hexdigit())
    };
    let locks = volume.state().join("locks");
    swept.note(leftovers::dead_locks(&locks, is_key, Instant::now() + LOCKS));
    Ok(swept)
}

/// The index entries of all tenants, each with its tenant's part of the volume.
pub(crate) fn all_entries(volume: &SystemVolume) -> Result<Vec<(SystemVolume, PathBuf)>, Failure> {
    let mut all = Vec::new();
    for tenant in volume.all()? {
        let found = entries(&tenant.index())?;
        all.extend(found.into_iter().map(|entry| (tenant.clone(), entry)));
    }
    Ok(all)
}

pub(super) fn nix<'a>(
    volume: &'a SystemVolume,
    tools: &'a SystemTools,
    workplace: &'a Workplace,
    patience: &'a Patience,
) -> Result<Nix<'a>, Failure> {
    let variables = &tools.variables;
    let program = provider::provider(&tools.provider).program(&Bootstrap {
        volume,
        workplace,
        variables,
        patience,
    })?;
    Ok(Nix {
        program,
        variables,
        volume,
        workplace,
        patience,
    })
}

/// Evicts least recently used entries until what the others need fits into `budget`, one at least; how many went.
fn evict_to(volume: &SystemVolume, ledger: &mut Ledger, budget: Budget, report: &mut GcReport) -> Result<u64, Failure> {
    let tenants: BTreeMap<PathBuf, SystemVolume> = all_entries(volume)?
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
        match evict_entry(tenant, &path) {
            Ok(true) => {}
            Ok(false) => {
                in_use += 1;
                continue;
            }
            Err(failure) => {
                super::evict::warn(report, &failure);
                continue;
            }
        }
        evicted += 1;
        for id in &member.parts {
            let users = uses.entry(*id).or_default();
            *users = users.saturating_sub(1);
            if let (0, Some(part)) = (*users, ledger.parts().get(id)) {
                live -= part.taken;
            }
        }
        ledger.forget(&member.name);
    }
    report.evicted_system_sets += evicted;
    // The same entries are met again in every round.
    report.kept_in_use = report.kept_in_use.max(in_use);
    Ok(evicted)
}

pub(crate) fn read(path: &Path) -> Option<IndexEntry> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

pub(super) fn key_of(entry: &Path) -> String {
    entry.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

pub(crate) fn lease_of(volume: &SystemVolume, entry: &Path) -> PathBuf {
    volume.own().join("leases").join(key_of(entry))
}

/// Removes one entry of the tenant with its roots, unless a task uses it. False where one does.
///
/// The entry goes first and the lease's file last: whoever still finds the entry finds the lock taken or the file gone.
///
/// # Errors
/// The volume cannot be written.
pub fn evict_entry(volume: &SystemVolume, entry: &Path) -> Result<bool, Failure> {
    let lease = lease_of(volume, entry);
    let held = lock::attempt(&lease, Mode::Exclusive, Missing::Absent)?;
    // One without a lease file is damaged: nobody can be using it.
    if held.is_none() && lease.exists() {
        return Ok(false);
    }
    publish::delete(entry)?;
    publish::delete(&volume.roots().join(key_of(entry)))?;
    publish::delete(&lease)?;
    Ok(true)
}
