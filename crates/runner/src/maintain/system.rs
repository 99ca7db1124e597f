//! The system volume between tasks: what it holds, making room, and whether all of it is whole.
//!
//! Only Nix itself deletes from its store. What is ours is the choice of what it may delete: an index entry goes with
//! its roots, least recently used first, and never one whose lease a task holds. Nix's collector cannot see a task in
//! another PID namespace, so it runs alone on the volume, and everything a task uses has a root by then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_model::maintain::{GcReport, LayerUsage, UsageReport};
use hybrid_cache_model::protocol::SystemTools;
use hybrid_cache_model::{Failure, FailureKind};

use super::entries;
use super::evict::Budget;
use crate::child::Patience;
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::measure::{Counter, Taken};
use crate::store::publish;
use crate::system::nix::{Nix, Workplace};
use crate::system::provider::{self, Bootstrap};
use crate::system::{IndexEntry, STORE_LOCK, SystemVolume, content};

pub use super::store::{clear_damaged, repair, verify};

/// How long a collection waits for builds at work; they may take minutes, and a collection can come again.
const BUILDS_WAIT: Duration = Duration::from_secs(5);

/// Measures the volume.
///
/// # Errors
/// A folder cannot be read.
pub fn usage(volume: &SystemVolume) -> Result<UsageReport, Failure> {
    let mut counter = Counter::new();
    let mut layers = Vec::new();
    let parts = [
        ("system/store", volume.root().join("store")),
        ("system/db", volume.root().join("var/nix")),
        ("system/index", volume.state()),
    ];
    for (layer, folder) in parts {
        let Taken { bytes, inodes, entries } = if folder.exists() {
            counter.take(&folder)?
        } else {
            Taken::default()
        };
        layers.push(LayerUsage {
            layer: layer.to_owned(),
            bytes,
            inodes,
            entries,
        });
    }
    let file_systems = vec![super::usage::file_system("system", volume.root())?];
    let system_sets = all_entries(volume)?.len() as u64;
    Ok(UsageReport {
        layers,
        file_systems,
        system_sets,
        ..UsageReport::default()
    })
}

/// Removes what nothing refers to, and then index entries until the volume is within `budget`.
///
/// # Errors
/// The volume cannot be read or written. What could not be done without harm is a warning in the report.
pub fn gc(
    volume: &SystemVolume,
    budget: Budget,
    tools: Option<&SystemTools>,
    patience: &Patience,
) -> Result<GcReport, Failure> {
    collect(volume, tools, patience, |taken| budget.excess(taken))
}

/// Like [`gc`], but leaves everything alone where the volume is within its budget already.
///
/// # Errors
/// As those of [`gc`].
pub fn keep_within(
    volume: &SystemVolume,
    budget: Budget,
    tools: &SystemTools,
    patience: &Patience,
) -> Result<GcReport, Failure> {
    if budget.excess(taken(volume)?).is_none() {
        return Ok(GcReport::default());
    }
    gc(volume, budget, Some(tools), patience)
}

/// Makes room on a full volume: everything unreferenced, and the least recently used half of the entries.
///
/// # Errors
/// As those of [`gc`].
pub fn make_room(volume: &SystemVolume, tools: &SystemTools, patience: &Patience) -> Result<GcReport, Failure> {
    let half = entries(&volume.index())?.len().div_ceil(2);
    let mut rounds = 0;
    collect(volume, Some(tools), patience, |_| {
        rounds += 1;
        (rounds == 1).then_some(Excess::Entries(half))
    })
}

/// How much has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// So many bytes.
    Bytes(u64),
    /// So many entries of the index.
    Entries(usize),
}

/// Asks `excess` after each collection what still has to go, until it is content or nothing more can go.
fn collect(
    volume: &SystemVolume,
    tools: Option<&SystemTools>,
    patience: &Patience,
    mut excess: impl FnMut(Taken) -> Option<Excess>,
) -> Result<GcReport, Failure> {
    let mut report = GcReport::default();
    let Some(_alone) = alone(volume, patience)? else {
        report
            .warnings
            .push("system packages are being made at this moment: nothing was collected".to_owned());
        report.over_budget = excess(taken(volume)?).is_some();
        return Ok(report);
    };
    let before = taken(volume)?;
    report.swept = sweep(volume)?;
    let Some(tools) = tools else {
        report
            .warnings
            .push("no nix is given: the store is only measured".to_owned());
        report.over_budget = excess(taken(volume)?).is_some();
        return Ok(report);
    };
    let workplace = Workplace::create(volume)?;
    let nix = nix(volume, tools, &workplace, patience)?;
    nix.run(&["store", "gc"])?;
    let mut after = taken(volume)?;
    // Each round evicts at least one entry, so there are no more rounds than entries.
    while let Some(too_much) = excess(after) {
        if evict(volume, &nix, tools, too_much, &mut report)? == 0 {
            report.over_budget = true;
            break;
        }
        nix.run(&["store", "gc"])?;
        after = taken(volume)?;
    }
    report.freed_bytes = before.bytes.saturating_sub(after.bytes);
    report.freed_inodes = before.inodes.saturating_sub(after.inodes);
    Ok(report)
}

/// The store's lock, held alone: no build is at work, and none begins.
pub(super) fn alone(volume: &SystemVolume, patience: &Patience) -> Result<Option<Lock>, Failure> {
    publish::ensure_folder(&volume.state().join("locks"))?;
    let deadline = patience.deadline().min(Instant::now() + BUILDS_WAIT);
    match lock::wait(&volume.lock_path(STORE_LOCK), Mode::Exclusive, deadline) {
        Ok(lock) => Ok(Some(lock)),
        Err(failure) if failure.kind == FailureKind::Deadline => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn taken(volume: &SystemVolume) -> Result<Taken, Failure> {
    Counter::new().take(volume.root())
}

/// Removes what killed preparations left. Only for who is alone: a live one looks just like it.
fn sweep(volume: &SystemVolume) -> Result<u64, Failure> {
    let mut left = entries(&volume.state().join("work"))?;
    left.extend(entries(&volume.root().join("var/nix/builds"))?);
    for tenant in volume.all()? {
        let index: Vec<PathBuf> = entries(&tenant.index())?;
        let has_entry = |roots: &PathBuf| index.iter().any(|entry| entry.file_stem() == roots.file_name());
        left.extend(entries(&tenant.roots())?.into_iter().filter(|roots| !has_entry(roots)));
    }
    let is_gone = |listing: &PathBuf| {
        let name = listing.file_name().unwrap_or_default();
        volume.root().join("store").join(name).symlink_metadata().is_err()
    };
    left.extend(entries(&content::folder(volume))?.into_iter().filter(is_gone));
    left.iter().try_for_each(|path| publish::delete(path))?;
    Ok(left.len() as u64)
}

/// The index entries of all tenants, each with its tenant's part of the volume.
pub(super) fn all_entries(volume: &SystemVolume) -> Result<Vec<(SystemVolume, PathBuf)>, Failure> {
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

/// An index entry as eviction sees it.
struct Candidate {
    /// The part of the volume that it is in.
    tenant: SystemVolume,
    path: PathBuf,
    used_at: SystemTime,
    /// Unpacked size in bytes of each path in its closure.
    closure: BTreeMap<String, u64>,
}

/// Evicts the least recently used entries until `too_much` is covered; how many went.
fn evict(
    volume: &SystemVolume,
    nix: &Nix<'_>,
    tools: &SystemTools,
    too_much: Excess,
    report: &mut GcReport,
) -> Result<u64, Failure> {
    let candidates = candidates(volume, nix, tools)?;
    let mut uses: BTreeMap<&str, u32> = BTreeMap::new();
    for name in candidates.iter().flat_map(|candidate| candidate.closure.keys()) {
        *uses.entry(name).or_default() += 1;
    }
    let (mut evicted, mut freed_bytes, mut in_use) = (0, 0, 0);
    for candidate in &candidates {
        let enough = match too_much {
            Excess::Bytes(bytes) => evicted > 0 && freed_bytes >= bytes,
            Excess::Entries(entries) => evicted >= entries as u64,
        };
        if enough {
            break;
        }
        if !evict_entry(&candidate.tenant, &candidate.path)? {
            in_use += 1;
            continue;
        }
        evicted += 1;
        for (name, size_bytes) in &candidate.closure {
            let users = uses.entry(name).or_default();
            *users = users.saturating_sub(1);
            freed_bytes += if *users == 0 { *size_bytes } else { 0 };
        }
    }
    report.evicted_system_sets += evicted;
    // The same entries are met again in every round.
    report.kept_in_use = report.kept_in_use.max(in_use);
    Ok(evicted)
}

/// All entries of all tenants, least recently used first. A damaged one comes without a closure and goes like any other.
fn candidates(volume: &SystemVolume, nix: &Nix<'_>, tools: &SystemTools) -> Result<Vec<Candidate>, Failure> {
    let mut candidates = Vec::new();
    for (tenant, path) in all_entries(volume)? {
        let lease = lease_of(&tenant, &path);
        let used_at = std::fs::metadata(lease)
            .and_then(|found| found.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let entry = read(&path);
        let closure = entry
            .and_then(|entry| nix.closure(&tools.source, &entry.paths).ok())
            .unwrap_or_default();
        candidates.push(Candidate {
            tenant,
            path,
            used_at,
            closure,
        });
    }
    candidates.sort_by(|one, other| one.used_at.cmp(&other.used_at).then(one.path.cmp(&other.path)));
    Ok(candidates)
}

pub(super) fn read(path: &Path) -> Option<IndexEntry> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

pub(super) fn key_of(entry: &Path) -> String {
    entry.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn lease_of(volume: &SystemVolume, entry: &Path) -> PathBuf {
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
