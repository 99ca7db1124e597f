//! Verifies the system volume: every index entry, and every store path that one needs against the hash that was
//! recorded when it was registered. If a Nix program is given, Nix verifies its store too.
//!
//! Store paths that no entry needs are garbage and are not examined.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hybrid_cache_model::maintain::{Problem, VerifyReport};
use hybrid_cache_model::protocol::SystemTools;
use hybrid_cache_model::{Failure, FailureKind, Protection, SystemKey};

use super::collection::{collection_deadline, lock_store, open_nix};
use crate::child::Deadline;
use crate::maintenance::hashes::Hashes;
use crate::maintenance::report::MAX_PROBLEMS;
use crate::store::files;
use crate::store::folder::relative;
use crate::store::lock::{self, Mode};
use crate::store::tree::Tree;
use crate::system::nix::WorkDir;
use crate::system::{IndexEntry, STORE_LOCK, SystemVolume, damaged, index_entries, path_hashes};

/// Files of store paths that are held in memory at one time.
const GROUP_ITEMS: usize = 100_000;

/// What an examination found.
#[derive(Debug, Default)]
struct SystemFindings {
    report: VerifyReport,
    /// Entries that lack something, or need a damaged store path.
    entries: Vec<(SystemVolume, PathBuf)>,
    /// Damaged store paths.
    paths: BTreeSet<String>,
}

impl SystemFindings {
    fn note(&mut self, volume: &SystemVolume, path: &Path, what: impl Into<String>) {
        self.report.problems.push(Problem {
            path: relative(volume.root(), path),
            what: what.into(),
        });
    }
}

/// Examines every entry and store path, and lets Nix verify its store if a Nix program is given.
///
/// # Errors
/// The volume itself cannot be read; damage is a problem in the report.
pub fn verify(
    volume: &SystemVolume,
    tools: Option<&SystemTools>,
    deadline: &Deadline,
) -> Result<VerifyReport, Failure> {
    examine(volume, tools, deadline).map(|findings| findings.report)
}

/// Verifies, and removes what is damaged. Damaged entries that no task uses are removed; others are marked, so that
/// lookups miss them. Nix then collects the damaged store paths that nothing needs, and builds them again on request.
///
/// # Errors
/// The volume cannot be read or written, or Nix failed.
pub fn repair(
    volume: &SystemVolume,
    tools: Option<&SystemTools>,
    deadline: &Deadline,
) -> Result<VerifyReport, Failure> {
    let mut findings = examine(volume, tools, deadline)?;
    // Record the damage before entries are removed: another entry may still need the store paths.
    damaged::note(volume, &findings.paths)?;
    for (tenant, path) in &findings.entries {
        let name = relative(volume.root(), path);
        let line = if index_entries::evict(tenant, path)? {
            format!("{name}: removed")
        } else if let Some(entry) = index_entries::read(path) {
            let marked = IndexEntry { damaged: true, ..entry };
            files::write_atomic(path, &marked.to_json()?)?;
            format!("{name}: marked, because a task uses it")
        } else {
            format!("{name}: stays, because a task uses it")
        };
        findings.report.repaired.push(line);
    }
    if !findings.paths.is_empty() {
        let line = match (tools, lock_store(volume, collection_deadline(deadline))?) {
            (Some(tools), Some(_alone)) => {
                collect(volume, tools, deadline)?;
                let left = findings.paths.iter().filter(|path| Path::new(path).exists()).count();
                format!(
                    "{} store paths: {left} stay until no task uses them",
                    findings.paths.len()
                )
            }
            (None, _) => "store paths: stay, because no Nix program is given to remove them".to_owned(),
            (_, None) => "store paths: stay, because system packages are being built".to_owned(),
        };
        findings.report.repaired.push(line);
    }
    Ok(findings.report)
}

/// Collects garbage, and drops the records of damaged store paths that are gone. The caller holds the store's lock.
fn collect(volume: &SystemVolume, tools: &SystemTools, deadline: &Deadline) -> Result<(), Failure> {
    let work_dir = WorkDir::standing(volume)?;
    open_nix(volume, tools, &work_dir, deadline)?.run(&["store", "gc"])?;
    let entries = index_entries::all(volume)?
        .into_iter()
        .filter_map(|(_, path)| index_entries::read(&path));
    damaged::forget_gone(volume, &entries.flat_map(|entry| entry.closure).collect())
}

/// Removes the entry of `key` if a verification marked it, and other marked entries that no task uses, with their
/// damaged store paths, so that they are built again.
///
/// # Errors
/// [`FailureKind::CacheDamaged`] while a task uses the entry of `key` or builds run, because Nix trusts paths that
/// exist.
pub fn clear_damaged(
    volume: &SystemVolume,
    key: &SystemKey,
    tools: &SystemTools,
    deadline: &Deadline,
) -> Result<(), Failure> {
    let path = volume.index_path(key);
    let is_marked = IndexEntry::read_marked(&path, key)?.is_some_and(|entry| entry.damaged);
    if !Protection::DamageIsMiss.is_on() || !(is_marked || damaged::is_any(volume)?) {
        return Ok(());
    }
    let refused = |why: &str, until: &str| {
        let failure = Failure::new(
            FailureKind::CacheDamaged,
            format!("store paths of {key} are damaged, and {why}"),
        );
        Err(failure.hint(format!("run the task again when those that {until} now have ended")))
    };
    // Take the lock first: the mark must not be removed before the paths are.
    let Some(_alone) = lock_store(volume, collection_deadline(deadline))? else {
        // An unmarked set that needs such a path is refused when it is registered.
        return if is_marked {
            refused("system packages are being built", "are being built")
        } else {
            Ok(())
        };
    };
    for (tenant, entry) in index_entries::all(volume)? {
        if index_entries::read(&entry).is_some_and(|entry| entry.damaged) {
            index_entries::evict(&tenant, &entry)?;
        }
    }
    if is_marked && path.exists() {
        return refused("a task uses them", "run");
    }
    collect(volume, tools, deadline)
}

fn examine(volume: &SystemVolume, tools: Option<&SystemTools>, deadline: &Deadline) -> Result<SystemFindings, Failure> {
    let mut findings = SystemFindings::default();
    let mut recorded: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut needed: Vec<(SystemVolume, PathBuf, IndexEntry)> = Vec::new();
    for (tenant, path) in index_entries::all(volume)? {
        findings.report.system_sets += 1;
        if let Some(what) = damage(&tenant, &path) {
            findings.note(volume, &path, what);
            findings.entries.push((tenant, path));
            continue;
        }
        let Some(entry) = index_entries::read(&path) else {
            continue;
        };
        for store_path in &entry.closure {
            let hashes = recorded.entry(store_path.clone()).or_default();
            hashes.extend(entry.content.get(store_path).cloned());
        }
        needed.push((tenant, path, entry));
    }
    if Protection::VerifyContent.is_on() {
        store_paths(volume, &recorded, &mut findings);
    }
    for (tenant, path, entry) in needed {
        if entry.closure.iter().any(|path| findings.paths.contains(path)) {
            findings.entries.push((tenant, path));
        }
    }
    if let Some(tools) = tools {
        // Hold the lock like a build does, so that no sweep removes the working folder and no collection removes the
        // paths.
        files::ensure_folder(&volume.state().join("locks"))?;
        let _in_use = lock::wait(&volume.lock_path(STORE_LOCK), Mode::Shared, deadline.instant())?;
        let work_dir = WorkDir::create(volume)?;
        let nix = open_nix(volume, tools, &work_dir, deadline)?;
        if let Err(failure) = nix.run(&["store", "verify", "--all", "--no-trust"]) {
            findings.note(volume, &volume.root().join("store"), failure.message);
        }
    }
    Ok(findings)
}

fn store_paths(volume: &SystemVolume, recorded: &BTreeMap<String, BTreeSet<String>>, findings: &mut SystemFindings) {
    let mut hashes = Hashes::default();
    let mut group: Vec<(&String, Tree)> = Vec::new();
    let mut items = 0;
    for (path, known) in recorded {
        if known.is_empty() {
            findings.report.unhashed += 1;
            continue;
        }
        match Tree::read(Path::new(path)) {
            Ok(tree) => {
                items += tree.items.len();
                group.push((path, tree));
            }
            Err(failure) => {
                findings.note(volume, Path::new(path), failure.message);
                findings.paths.insert(path.clone());
            }
        }
        if items > GROUP_ITEMS {
            judge(volume, std::mem::take(&mut group), recorded, &mut hashes, findings);
            items = 0;
        }
    }
    judge(volume, group, recorded, &mut hashes, findings);
    findings.report.inodes += hashes.inodes;
    findings.report.bytes += hashes.bytes;
}

fn judge(
    volume: &SystemVolume,
    group: Vec<(&String, Tree)>,
    recorded: &BTreeMap<String, BTreeSet<String>>,
    hashes: &mut Hashes,
    findings: &mut SystemFindings,
) {
    hashes.add(group.iter().map(|(_, tree)| tree));
    for (path, tree) in &group {
        findings.report.files += tree.items.len() as u64;
        let full = |name: &str| {
            if name.is_empty() {
                PathBuf::from(path)
            } else {
                Path::new(path).join(name)
            }
        };
        let found = match tree.listing(&hashes.known) {
            Ok(found) => found,
            Err((name, what)) => {
                findings.note(volume, &full(&name), what);
                findings.paths.insert((*path).clone());
                continue;
            }
        };
        let hash = found.hash();
        if recorded
            .get(*path)
            .is_none_or(|known| known.iter().all(|known| *known == hash))
        {
            continue;
        }
        findings.paths.insert((*path).clone());
        let expected = path_hashes::listing(volume, path).map(|expected| expected.differences(&found));
        match expected.filter(|differences| !differences.is_empty()) {
            None => findings.note(volume, Path::new(path), "differs from the content that was registered"),
            Some(differences) => {
                for (name, what) in differences.iter().take(MAX_PROBLEMS) {
                    findings.note(volume, &full(name), what.clone());
                }
            }
        }
    }
    hashes.forget(group.iter().map(|(_, tree)| tree));
}

/// The damage of an entry, if any.
fn damage(volume: &SystemVolume, path: &Path) -> Option<String> {
    let Some(entry) = index_entries::read(path) else {
        return Some("the entry cannot be read".to_owned());
    };
    if entry.key.as_str() != index_entries::key_of(path) {
        return Some(format!("its key is {}, which differs from its file name", entry.key));
    }
    if entry.damaged {
        return Some("was marked as damaged while a task used it".to_owned());
    }
    if !index_entries::lease_of(volume, path).exists() {
        return Some("its lease is missing".to_owned());
    }
    if let Some(gone) = entry.paths.iter().find(|path| !Path::new(path).exists()) {
        return Some(format!("the store path {gone} is missing"));
    }
    let rooted = |(number, path): (usize, &String)| {
        let root = volume.roots_path(&entry.key).join(number.to_string());
        std::fs::read_link(root).is_ok_and(|target| target == Path::new(path))
    };
    let all_rooted = entry.paths.iter().enumerate().all(rooted);
    (!all_rooted).then(|| "a root is missing: the next garbage collection would delete its paths".to_owned())
}
