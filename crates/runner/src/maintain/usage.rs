//! What the Python volume holds, each inode counted once.
//!
//! Files are shared by hardlinks between environments and uv's cache, so a sum of folders would count them up to
//! eleven times. Environments, unpacked wheels and byte-code come from the ledger. A wheel that some environment has
//! counts for `python/envs`; so `python/uv` is what only uv's cache keeps, that is, what could be freed without touching an
//! environment. Environments share byte-code by links to its folders: all of it is in `python/bytecode`, and only there.
//! What preparations are making (`python/staging`) counts without what it shares.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;
use hybrid_cache_model::budget::FileSystemUsage;
use hybrid_cache_model::maintain::{GarbageUsage, LayerUsage, UsageReport};

use super::{entries, largest};
use crate::ledger::{self, LEDGER_FILE, Ledger, Member};
use crate::python::publish::{MANIFEST_FILE, Manifest};
use crate::python::{PythonVolume, heal, pool};
use crate::store::At;
use crate::store::measure::{Counter, Taken};

/// How long to wait for a writer of the ledger; without it the ledger is read and not written.
const LEDGER_WAIT: Duration = Duration::from_secs(5);

/// Measures the volume.
///
/// # Errors
/// A folder cannot be read.
pub fn usage(volume: &PythonVolume) -> Result<UsageReport, Failure> {
    let mut open = ledger::open_python(volume, Instant::now() + LEDGER_WAIT)?;
    open.ledger.set_rest(ledger::python_rest(volume)?);
    let mut layers = standing(volume, &open.ledger)?.to_vec();
    let at_work = at_work(volume)?;
    let garbage = garbage(&open.ledger, &at_work);
    layers.splice(3..3, at_work);
    let layer = |(name, taken): (&str, Taken)| LayerUsage {
        layer: name.to_owned(),
        bytes: taken.bytes,
        inodes: taken.inodes,
        entries: taken.entries,
    };
    let (mut requests, mut healed) = (0, 0);
    for tenant in PythonVolume::all(volume.root())? {
        let found = entries(&tenant.requests())?;
        requests += found.iter().filter(|path| path.exists()).count() as u64;
        healed += heal::count(&tenant);
    }
    Ok(UsageReport {
        layers: layers.into_iter().map(layer).collect(),
        file_systems: vec![file_system("python", volume.root())?],
        environments: open.ledger.members().len() as u64,
        requests,
        system_sets: 0,
        healed,
        garbage: vec![garbage],
        largest: largest::of(&open.ledger, "python", |member| pins(volume, member)),
    })
}

/// What no environment needs: parts without one, the rest of uv's cache, and what preparations make or have left.
fn garbage(ledger: &Ledger, at_work: &[(&str, Taken)]) -> GarbageUsage {
    let unused = ledger.unused();
    let parts = unused.iter().map(|part| part.taken);
    let mut all = ledger.rest().unwrap_or_default();
    parts
        .chain(at_work.iter().map(|(_, taken)| *taken))
        .for_each(|taken| all += taken);
    GarbageUsage {
        volume: "python".to_owned(),
        bytes: all.bytes,
        inodes: all.inodes,
    }
}

/// The packages of an environment; none where its manifest cannot be read.
pub(super) fn pins(volume: &PythonVolume, member: &Member) -> Vec<String> {
    let manifest = volume.root().join(&member.name).join(MANIFEST_FILE);
    let read = std::fs::read(manifest).ok();
    let manifest: Option<Manifest> = read.and_then(|text| serde_json::from_slice(&text).ok());
    manifest.map(|manifest| manifest.pins).unwrap_or_default()
}

/// What all layers take together.
///
/// # Errors
/// A folder cannot be read.
pub fn taken(volume: &PythonVolume, ledger: &Ledger) -> Result<Taken, Failure> {
    let mut all = Taken::default();
    let at_work = at_work(volume)?;
    for (_, taken) in standing(volume, ledger)?.into_iter().chain(at_work) {
        all += taken;
    }
    Ok(all)
}

/// What takes space beside the ledger's content and what is at work: requests, locks, folders that only hold others, and the
/// ledger. All of it is names in a few folders, so this walks nothing.
///
/// # Errors
/// A folder cannot be read.
pub fn beside(volume: &PythonVolume) -> Result<Taken, Failure> {
    let mut all = Taken::default();
    for (_, taken) in standing(volume, &Ledger::default())? {
        all += taken;
    }
    for tenant in PythonVolume::all(volume.root())? {
        all += Counter::itself(&tenant.staging());
    }
    all += Counter::itself(&volume.trash());
    Ok(all)
}

/// Layers that come and go with preparations at work, by name; no eviction makes them smaller. Walks them.
fn at_work(volume: &PythonVolume) -> Result<[(&'static str, Taken); 2], Failure> {
    let mut staging = Taken::default();
    for tenant in PythonVolume::all(volume.root())? {
        staging += Counter::own(&tenant.staging())?;
    }
    Ok([
        ("python/staging", staging),
        ("python/trash", Counter::own(&volume.trash())?),
    ])
}

/// The other layers, by name. Folders that only hold others count for the layer of those.
fn standing(volume: &PythonVolume, ledger: &Ledger) -> Result<[(&'static str, Taken); 5], Failure> {
    let tenants = PythonVolume::all(volume.root())?;
    let uses = ledger.uses();
    let mut environments = Taken::default();
    let mut bytecode = Taken::default();
    let mut uv = ledger.rest().unwrap_or_default();
    for (id, part) in ledger.parts() {
        *(match uses.contains_key(id) {
            _ if part.is_byte_code() => &mut bytecode,
            true => &mut environments,
            false => &mut uv,
        }) += part.taken;
    }
    ledger.members().values().for_each(|member| environments += member.own);
    let mut pools: Vec<PathBuf> = tenants.iter().flat_map(pool::all).collect();
    pools.sort();
    pools.dedup();
    for pool in pools {
        bytecode += Counter::itself(&pool);
        entries(&pool)?.iter().for_each(|abi| bytecode += Counter::itself(abi));
    }
    let mut requests = Taken::default();
    for tenant in &tenants {
        environments += Counter::itself(&tenant.environments());
        requests += Counter::new().take(&tenant.requests())?;
    }
    requests += Counter::itself(&volume.root().join(LEDGER_FILE));
    Ok([
        ("python/envs", environments),
        ("python/bytecode", bytecode),
        ("python/uv", uv),
        ("python/locks", Counter::new().take(&volume.locks())?),
        ("python/other", requests),
    ])
}

/// What the file system below `root` has in all.
///
/// # Errors
/// It cannot be asked.
pub fn file_system(volume: &str, root: &Path) -> Result<FileSystemUsage, Failure> {
    let found = rustix::fs::statvfs(root).at("ask for the free space of", root)?;
    Ok(FileSystemUsage {
        volume: volume.to_owned(),
        total_bytes: found.f_blocks * found.f_frsize,
        free_bytes: found.f_bavail * found.f_frsize,
        total_inodes: found.f_files,
        free_inodes: found.f_favail,
    })
}
