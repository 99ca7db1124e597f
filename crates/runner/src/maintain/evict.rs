//! Making room on the Python volume: least recently used environments first, whosever they are, and never one in use.
//!
//! An evictor takes the environment's lease exclusively without waiting, renames the folder into `trash/`, and deletes
//! it there. A task that got its shared lease in between sees that the inode is no longer at its path and misses.
//!
//! An environment alone takes a few megabytes; its packages are shared with uv's cache and other environments. What
//! its eviction frees is therefore reckoned by inode: all that no other environment links to, be it a file with several
//! names or a folder of byte-code.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::GcReport;
use hybrid_cache_model::protocol::PythonTools;

use super::system::Excess;
use super::{entries, orphans};
use crate::child::Patience;
use crate::python::uv::Uv;
use crate::python::{PythonVolume, pool};
use crate::store::lock::{self, Missing, Mode};
use crate::store::measure::{Counter, Taken};
use crate::store::stage::{self, LEASE, Stage};
use crate::store::{At, publish};

/// How much a volume may hold; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Allocated bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Budget {
    /// The budget, where it limits anything.
    pub fn limited(self) -> Option<Budget> {
        (self != Budget::default()).then_some(self)
    }

    /// How far `taken` is beyond it, as the system volume counts: a limit of inodes is reached entry by entry.
    pub fn excess(self, taken: Taken) -> Option<Excess> {
        let bytes = taken.bytes.saturating_sub(self.bytes);
        match self.bytes != 0 && bytes > 0 {
            true => Some(Excess::Bytes(bytes)),
            false => (!self.allows(taken)).then_some(Excess::Entries(1)),
        }
    }

    fn allows(self, taken: Taken) -> bool {
        (self.bytes == 0 || taken.bytes <= self.bytes) && (self.inodes == 0 || taken.inodes <= self.inodes)
    }
}

/// One environment as eviction sees it.
struct Candidate {
    path: PathBuf,
    used_at: SystemTime,
    own: Taken,
    shared: Vec<(u64, u64)>,
}

/// All environments, least recently used first, and how many of them use each shared inode, and what it takes.
struct Ledger {
    candidates: Vec<Candidate>,
    uses: HashMap<(u64, u64), (u32, Taken)>,
}

/// Removes what nothing refers to, and then environments until the volume is within `budget`.
///
/// # Errors
/// The volume cannot be read or written. What could not be done without harm is a warning in the report.
pub fn gc(
    volume: &PythonVolume,
    budget: Budget,
    tools: Option<&PythonTools>,
    patience: &Patience,
) -> Result<GcReport, Failure> {
    let before = taken(volume)?;
    let mut report = GcReport::default();
    tidy(volume, &mut report)?;
    let mut now = taken(volume)?;
    if !budget.allows(now) {
        report.orphans += orphans::wheels(volume)?;
        now = taken(volume)?;
    }
    if !budget.allows(now) {
        let enough = |freed: Taken| {
            budget.allows(Taken {
                bytes: now.bytes.saturating_sub(freed.bytes),
                inodes: now.inodes.saturating_sub(freed.inodes),
                entries: 0,
            })
        };
        evict_until(volume, enough, &mut report)?;
        clear_after(volume, &mut report)?;
    }
    prune(volume, tools, patience, &mut report);
    finish(volume, before, &mut report)?;
    report.over_budget = !budget.allows(taken(volume)?);
    Ok(report)
}

/// Makes room on a full volume: all that nobody shares, and the least recently used half of the environments.
///
/// How much the next attempt needs is not known, and a second eviction is not foreseen; half is a compromise between
/// an eviction that was not enough and one that throws away what is asked for next.
///
/// # Errors
/// The volume cannot be read.
pub fn make_room(volume: &PythonVolume, tools: Option<&PythonTools>, patience: &Patience) -> Result<GcReport, Failure> {
    let before = taken(volume)?;
    let mut report = GcReport::default();
    tidy(volume, &mut report)?;
    let half = Ledger::read(volume)?.candidates.len().div_ceil(2);
    let mut asked = 0;
    let enough = |_: Taken| {
        asked += 1;
        asked > half
    };
    evict_until(volume, enough, &mut report)?;
    clear_after(volume, &mut report)?;
    prune(volume, tools, patience, &mut report);
    finish(volume, before, &mut report)?;
    Ok(report)
}

/// What the cache takes on the volume; epochs and what was set aside are not its own.
fn taken(volume: &PythonVolume) -> Result<Taken, Failure> {
    let mut counter = Counter::new();
    let mut taken = Taken::default();
    for folder in super::usage::folders(volume)?
        .into_iter()
        .flat_map(|(_, folders)| folders)
    {
        taken += counter.take(&folder)?;
    }
    Ok(taken)
}

/// Left-overs, dead claims, requests and byte-code without an environment.
pub(super) fn tidy(volume: &PythonVolume, report: &mut GcReport) -> Result<(), Failure> {
    for tenant in PythonVolume::all(volume.root())? {
        match stage::sweep(&tenant.staging(), &tenant.trash()) {
            Ok(swept) => report.swept += swept as u64,
            Err(failure) => report.warnings.push(failure.to_string()),
        }
        for claim in dead_claims(&tenant)? {
            publish::delete(&claim)?;
            report.swept += 1;
        }
    }
    report.dangling_requests += drop_dangling(volume)?;
    report.orphans += orphans::bytecode(volume)?;
    Ok(())
}

/// Links in a tenant's `envs/` that a killed publisher left (see [`publish::place`]); a live one is there for microseconds.
pub fn dead_claims(volume: &PythonVolume) -> Result<Vec<PathBuf>, Failure> {
    let mut claims = entries(&volume.environments())?;
    claims.retain(|path| path.is_symlink() && stage::age(path) > stage::GRACE);
    Ok(claims)
}

fn drop_dangling(volume: &PythonVolume) -> Result<u64, Failure> {
    let mut dropped = 0;
    for tenant in PythonVolume::all(volume.root())? {
        for request in entries(&tenant.requests())? {
            // Should it be pointed anew between the two calls, a request is lost and its next task misses: no harm.
            if !request.exists() {
                publish::delete(&request)?;
                dropped += 1;
            }
        }
    }
    Ok(dropped)
}

/// Evicts from the least recently used on until `enough` is content with what was freed.
fn evict_until(
    volume: &PythonVolume,
    mut enough: impl FnMut(Taken) -> bool,
    report: &mut GcReport,
) -> Result<(), Failure> {
    let mut ledger = Ledger::read(volume)?;
    let mut freed = Taken::default();
    for candidate in std::mem::take(&mut ledger.candidates) {
        if enough(freed) {
            break;
        }
        match evict(volume, &candidate.path)? {
            Evicted::Gone => {
                report.evicted_environments += 1;
                freed += ledger.release(&candidate);
            }
            Evicted::InUse => report.kept_in_use += 1,
        }
    }
    Ok(())
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

fn clear_after(volume: &PythonVolume, report: &mut GcReport) -> Result<(), Failure> {
    report.dangling_requests += drop_dangling(volume)?;
    report.orphans += orphans::bytecode(volume)?;
    report.orphans += orphans::wheels(volume)?;
    Ok(())
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

fn finish(volume: &PythonVolume, before: Taken, report: &mut GcReport) -> Result<(), Failure> {
    let after = taken(volume)?;
    report.freed_bytes = before.bytes.saturating_sub(after.bytes);
    report.freed_inodes = before.inodes.saturating_sub(after.inodes);
    Ok(())
}

impl Ledger {
    fn read(volume: &PythonVolume) -> Result<Ledger, Failure> {
        let mut ledger = Ledger {
            candidates: Vec::new(),
            uses: HashMap::new(),
        };
        for tenant in PythonVolume::all(volume.root())? {
            let pools = pool::all(&tenant);
            for path in entries(&tenant.environments())? {
                if path.is_dir() && !path.is_symlink() {
                    ledger.add(path, &pools)?;
                }
            }
        }
        ledger
            .candidates
            .sort_by(|one, other| one.used_at.cmp(&other.used_at).then(one.path.cmp(&other.path)));
        Ok(ledger)
    }

    fn add(&mut self, path: PathBuf, pools: &[PathBuf]) -> Result<(), Failure> {
        let used_at = path
            .join(LEASE)
            .metadata()
            .and_then(|found| found.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let mut candidate = Candidate {
            path: path.clone(),
            used_at,
            own: Counter::own(&path)?,
            shared: Vec::new(),
        };
        let mut folders = vec![path];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder)? {
                let found = match path.symlink_metadata() {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    other => other.at("look at", &path)?,
                };
                if found.is_dir() {
                    folders.push(path);
                } else if found.nlink() > 1 {
                    let bytes = found.blocks() * 512;
                    let (inodes, entries) = (1, 0);
                    candidate
                        .shared
                        .push(self.note(&found, || Ok(Taken { bytes, inodes, entries }))?);
                } else if let Some(folder) = pools.iter().find_map(|pool| Some(pool.join(pool::read(pool, &path)?))) {
                    // A link that leads nowhere frees nothing.
                    if let Ok(found) = folder.symlink_metadata() {
                        candidate
                            .shared
                            .push(self.note(&found, || Counter::new().take(&folder))?);
                    }
                }
            }
        }
        self.candidates.push(candidate);
        Ok(())
    }

    /// Counts one more use of something shared, measured when it is met first.
    fn note(
        &mut self,
        found: &Metadata,
        measure: impl FnOnce() -> Result<Taken, Failure>,
    ) -> Result<(u64, u64), Failure> {
        let inode = (found.dev(), found.ino());
        match self.uses.entry(inode) {
            Entry::Occupied(mut known) => known.get_mut().0 += 1,
            Entry::Vacant(new) => {
                new.insert((1, measure()?));
            }
        }
        Ok(inode)
    }

    /// What the volume gains when this environment is gone and what it alone used is cleared after it.
    fn release(&mut self, candidate: &Candidate) -> Taken {
        let mut freed = candidate.own;
        for inode in &candidate.shared {
            if let Some((uses, taken)) = self.uses.get_mut(inode) {
                *uses = uses.saturating_sub(1);
                if *uses == 0 {
                    freed += *taken;
                }
            }
        }
        freed
    }
}
