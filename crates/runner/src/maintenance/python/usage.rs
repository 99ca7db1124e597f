//! The disk usage of the Python volume; each inode is counted once.
//!
//! Files are shared by hardlinks between environments and uv's cache, so a sum of folders would count them up to eleven
//! times. Environments, unpacked wheels and bytecode come from the ledger. A wheel that some environment has counts for
//! `python/envs`; so `python/uv` is what only uv's cache keeps, that is, what could be freed without touching an
//! environment. Environments share bytecode by links to its folders: all of it is in `python/bytecode`, and only there.
//! What preparations are making (`python/staging`) counts without what it shares.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::{GarbageUsage, LayerUsage, UsageReport};

use crate::ledger::{self, LEDGER_FILE, Ledger, Member};
use crate::maintenance::largest;
use crate::python::environment::{MANIFEST_FILE, Manifest};
use crate::python::{PythonVolume, heal, pool};
use crate::store::folder::entries;
use crate::store::measure::{Counter, DiskUsage, file_system};

/// How long to wait for another writer of the ledger; after that it is read and not saved.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(5);

/// Measures the volume.
///
/// # Errors
/// A folder cannot be read.
pub fn usage(volume: &PythonVolume) -> Result<UsageReport, Failure> {
    let mut open = ledger::open_python(volume, Instant::now() + LEDGER_TIMEOUT)?;
    open.ledger.set_rest(ledger::python_rest(volume)?);
    let mut layers = standing(volume, &open.ledger)?.to_vec();
    let at_work = at_work(volume)?;
    let garbage = garbage(&open.ledger, &at_work);
    layers.splice(3..3, at_work);
    let layer = |(name, size): (&str, DiskUsage)| LayerUsage {
        layer: name.to_owned(),
        bytes: size.bytes,
        inodes: size.inodes,
        entries: size.entries,
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
        largest: largest::largest(&open.ledger, "python", |member| pins(volume, member)),
    })
}

/// What no environment needs: unused parts, the rest of uv's cache, and running or abandoned preparations.
fn garbage(ledger: &Ledger, at_work: &[(&str, DiskUsage)]) -> GarbageUsage {
    let unused = ledger.unused();
    let parts = unused.iter().map(|part| part.size);
    let mut all = ledger.rest().unwrap_or_default();
    parts
        .chain(at_work.iter().map(|(_, size)| *size))
        .for_each(|size| all += size);
    GarbageUsage {
        volume: "python".to_owned(),
        bytes: all.bytes,
        inodes: all.inodes,
    }
}

/// The packages of an environment; none if its manifest cannot be read.
pub(in crate::maintenance) fn pins(volume: &PythonVolume, member: &Member) -> Vec<String> {
    let manifest = volume.root().join(&member.name).join(MANIFEST_FILE);
    let read = std::fs::read(manifest).ok();
    let manifest: Option<Manifest> = read.and_then(|text| serde_json::from_slice(&text).ok());
    manifest.map(|manifest| manifest.pins).unwrap_or_default()
}

/// The disk usage of all layers together.
///
/// # Errors
/// A folder cannot be read.
pub fn total(volume: &PythonVolume, ledger: &Ledger) -> Result<DiskUsage, Failure> {
    let mut all = DiskUsage::default();
    let at_work = at_work(volume)?;
    for (_, size) in standing(volume, ledger)?.into_iter().chain(at_work) {
        all += size;
    }
    Ok(all)
}

/// The disk usage outside the ledger and the running preparations: requests, locks, container folders and the ledger
/// file. These are names in a few folders, so nothing is walked.
///
/// # Errors
/// A folder cannot be read.
pub fn beside(volume: &PythonVolume) -> Result<DiskUsage, Failure> {
    let mut all = DiskUsage::default();
    for (_, size) in standing(volume, &Ledger::default())? {
        all += size;
    }
    for tenant in PythonVolume::all(volume.root())? {
        all += Counter::itself(&tenant.staging());
    }
    all += Counter::itself(&volume.trash());
    Ok(all)
}

/// The layers of running preparations, by name. Eviction does not shrink them. Walks them.
fn at_work(volume: &PythonVolume) -> Result<[(&'static str, DiskUsage); 2], Failure> {
    let mut staging = DiskUsage::default();
    for tenant in PythonVolume::all(volume.root())? {
        staging += Counter::own(&tenant.staging())?;
    }
    Ok([
        ("python/staging", staging),
        ("python/trash", Counter::own(&volume.trash())?),
    ])
}

/// The other layers, by name. A folder that only contains others counts for their layer.
fn standing(volume: &PythonVolume, ledger: &Ledger) -> Result<[(&'static str, DiskUsage); 5], Failure> {
    let tenants = PythonVolume::all(volume.root())?;
    let uses = ledger.uses();
    let mut environments = DiskUsage::default();
    let mut bytecode = DiskUsage::default();
    let mut uv = ledger.rest().unwrap_or_default();
    for (id, part) in ledger.parts() {
        *(match uses.contains_key(id) {
            _ if part.is_bytecode() => &mut bytecode,
            true => &mut environments,
            false => &mut uv,
        }) += part.size;
    }
    ledger.members().values().for_each(|member| environments += member.own);
    let mut pools: Vec<PathBuf> = tenants.iter().flat_map(pool::all).collect();
    pools.sort();
    pools.dedup();
    for pool in pools {
        bytecode += Counter::itself(&pool);
        entries(&pool)?.iter().for_each(|abi| bytecode += Counter::itself(abi));
    }
    let mut requests = DiskUsage::default();
    for tenant in &tenants {
        environments += Counter::itself(&tenant.environments());
        requests += Counter::new().measure(&tenant.requests())?;
    }
    requests += Counter::itself(&volume.root().join(LEDGER_FILE));
    Ok([
        ("python/envs", environments),
        ("python/bytecode", bytecode),
        ("python/uv", uv),
        ("python/locks", Counter::new().measure(&volume.locks())?),
        ("python/other", requests),
    ])
}
