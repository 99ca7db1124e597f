//! Refreshes the ledger of a Python volume. Its parts are unpacked wheels and folders of bytecode.
//!
//! An environment uses an unpacked wheel if both have the same inode of `METADATA`. If uv's cache has lost a wheel that
//! environments still link to, the part is called `loose/<inode>` and is measured from an environment's own list of
//! files.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hybrid_cache_model::Failure;

use super::lease_times::{has_gone, last_use, micros, stamp};
use super::{Ledger, Member, Part, PartId, id};
use crate::python::environment::{MANIFEST_FILE, Manifest, VENV};
use crate::python::record::{self, Installed};
use crate::python::uv_cache;
use crate::python::{PythonVolume, pool};
use crate::store::folder::entries;
use crate::store::measure::{Counter, DiskUsage};
use crate::store::stage::LEASE;

/// A file of each distribution that uv hard-links and no tool rewrites.
const METADATA: &str = "METADATA";
/// Prefix of parts that have no folder of their own.
pub(crate) const LOOSE: &str = "loose/";

/// Brings the ledger up to date: lists names, measures new parts, removes those that are gone.
pub fn refresh(volume: &PythonVolume, ledger: &mut Ledger) -> Result<(), Failure> {
    let tenants = PythonVolume::all(volume.root())?;
    let mut there = BTreeSet::new();
    let mut has_new_wheels = false;
    for (tenant, cache) in uv_cache::uv_caches(volume)? {
        let mut wheels = folders_in(&uv_cache::archives(&cache)?)?;
        // uv is still writing those with a leading dot.
        wheels.retain(|wheel| {
            !wheel
                .file_name()
                .unwrap_or_default()
                .as_encoded_bytes()
                .starts_with(b".")
        });
        for wheel in wheels {
            has_new_wheels |= note(&tenant, ledger, &wheel, &mut there)?;
        }
    }
    let mut pools: Vec<PathBuf> = tenants.iter().flat_map(pool::all).collect();
    pools.sort();
    pools.dedup();
    for pool in pools {
        for folder in folders_in(&entries(&pool)?)? {
            note(volume, ledger, &folder, &mut there)?;
        }
    }
    environments(&tenants, ledger, &mut there)?;
    let used = ledger.uses();
    // A wheel that uv's cache has lost still takes space in the environments that link to its files.
    let lives_on = |id: PartId, part: &Part| used.contains_key(&id) && !part.is_bytecode();
    ledger.keep_parts(|id, part| there.contains(&id) || lives_on(id, part));
    if has_new_wheels || ledger.rest().is_none() {
        ledger.set_rest(rest(volume)?);
    }
    Ok(())
}

/// The disk usage of uv's caches without unpacked wheels.
pub fn rest(volume: &PythonVolume) -> Result<DiskUsage, Failure> {
    let mut rest = DiskUsage::default();
    for (_, cache) in uv_cache::uv_caches(volume)? {
        if !cache.exists() {
            continue;
        }
        let archives = uv_cache::archives(&cache)?;
        rest += Counter::itself(&cache);
        for path in entries(&cache)? {
            rest += if archives.contains(&path) {
                Counter::itself(&path)
            } else {
                Counter::new().measure(&path)?
            };
        }
    }
    Ok(rest)
}

fn folders_in(parents: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut folders = Vec::new();
    for parent in parents {
        folders.extend(entries(parent)?.into_iter().filter(|path| path.is_dir()));
    }
    Ok(folders)
}

/// Adds the part at `path` to `there`, and measures it if the ledger lacks it. True if it was new.
fn note(
    volume: &PythonVolume,
    ledger: &mut Ledger,
    path: &Path,
    there: &mut BTreeSet<PartId>,
) -> Result<bool, Failure> {
    let name = volume.relative(path);
    there.insert(id(&name));
    if ledger.parts().contains_key(&id(&name)) {
        return Ok(false);
    }
    let mark = distributions(path).values().next().copied().unwrap_or(0);
    let size = Counter::new().measure(path)?;
    ledger.add_part(Part { name, mark, size });
    Ok(true)
}

/// The inode of the METADATA of each distribution in `site`, by the name of its folder.
pub(crate) fn distributions(site: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(site).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".dist-info")
            && let Ok(metadata) = entry.path().join(METADATA).symlink_metadata()
        {
            found.insert(name, metadata.ino());
        }
    }
    found
}

fn environments(tenants: &[PythonVolume], ledger: &mut Ledger, there: &mut BTreeSet<PartId>) -> Result<(), Failure> {
    let now_us = micros(Ok(SystemTime::now()));
    let mut present = BTreeSet::new();
    // Built lazily: usually no environment is new.
    let mut marks = None;
    let found_again = found_again(ledger);
    for tenant in tenants {
        for path in entries(&tenant.environments())? {
            if !path.is_dir() || path.is_symlink() {
                continue;
            }
            let name = tenant.relative(&path);
            let lease = path.join(LEASE).metadata();
            let stamp = lease.as_ref().map_or(0, stamp);
            let lease_us = micros(lease.and_then(|lease| lease.modified()));
            present.insert(name.clone());
            let known = ledger
                .members()
                .get(&name)
                .filter(|known| known.stamp == stamp && !known.parts.iter().any(|id| found_again.contains(id)))
                .cloned();
            let member = match known {
                Some(known) => Member {
                    used_us: last_use(Some(known.used_us), lease_us, now_us),
                    ..known
                },
                None => match measure(&path, ledger, marks.get_or_insert_with(|| marked(ledger))) {
                    Ok((own, parts)) => Member {
                        name,
                        used_us: last_use(None, lease_us, now_us),
                        stamp,
                        own,
                        parts,
                    },
                    Err(failure) if has_gone(&failure, &path) => continue,
                    Err(failure) => return Err(failure),
                },
            };
            let is_loose = |id: &&PartId| ledger.parts().get(id).is_some_and(|part| part.name.starts_with(LOOSE));
            there.extend(member.parts.iter().filter(is_loose));
            ledger.add_member(member);
        }
    }
    ledger.keep_members(&present);
    Ok(())
}

/// Parts by the inode that identifies them; a wheel replaces a loose part with the same inode.
fn marked(ledger: &Ledger) -> BTreeMap<u64, PartId> {
    let (loose, wheels): (Vec<_>, Vec<_>) = ledger.parts().values().partition(|part| part.name.starts_with(LOOSE));
    let parts = loose.into_iter().chain(wheels).filter(|part| part.mark != 0);
    parts.map(|part| (part.mark, id(&part.name))).collect()
}

/// Loose parts whose wheel is in the ledger too, because the environment was published after a refresh had listed the
/// wheels.
fn found_again(ledger: &Ledger) -> BTreeSet<PartId> {
    let (loose, wheels): (Vec<_>, Vec<_>) = ledger.parts().values().partition(|part| part.name.starts_with(LOOSE));
    let loose: BTreeMap<u64, &Part> = loose.into_iter().map(|part| (part.mark, part)).collect();
    let wheels = wheels.into_iter().filter_map(|wheel| loose.get(&wheel.mark));
    wheels.map(|part| id(&part.name)).collect()
}

/// The disk usage of an environment without its parts, and its parts. A part that only this environment still has is
/// added to the ledger and to `marks`.
fn measure(
    path: &Path,
    ledger: &mut Ledger,
    marks: &mut BTreeMap<u64, PartId>,
) -> Result<(DiskUsage, Vec<PartId>), Failure> {
    let own = Counter::own(path)?;
    let manifest = std::fs::read(path.join(MANIFEST_FILE)).ok();
    let manifest: Option<Manifest> = manifest.and_then(|text| serde_json::from_slice(&text).ok());
    let Some(manifest) = manifest else {
        // It is damaged; the next repair or eviction removes it.
        return Ok((Counter::new().measure(path)?, Vec::new()));
    };
    let mut parts: BTreeSet<PartId> = manifest.bytecode.iter().map(|folder| id(folder)).collect();
    let venv = path.join(VENV);
    let mut lost = BTreeMap::new();
    for (folder, mark) in distributions(&venv.join(record::site(&manifest.interpreter))) {
        match marks.get(&mark) {
            Some(id) => drop(parts.insert(*id)),
            None => drop(lost.insert(folder, mark)),
        }
    }
    if !lost.is_empty()
        && let Ok(installed) = Installed::read(&venv, &manifest.interpreter)
    {
        for distribution in &installed.distributions {
            let Some(mark) = lost.get(&distribution.folder) else {
                continue;
            };
            let files = distribution.entries.iter().map(|entry| venv.join(&entry.path));
            let part = Part {
                name: format!("{LOOSE}{mark}"),
                mark: *mark,
                size: linked(files),
            };
            parts.insert(id(&part.name));
            if part.size.inodes > 0 {
                marks.insert(*mark, id(&part.name));
                ledger.add_part(part);
            }
        }
    }
    // A part may be newer than this refresh's list. It counts as zero until the next refresh measures it.
    Ok((own, parts.into_iter().collect()))
}

/// The disk usage of those files that have more than one hard link.
fn linked(files: impl Iterator<Item = PathBuf>) -> DiskUsage {
    let mut counter = Counter::new();
    let mut size = DiskUsage::default();
    for file in files {
        if file
            .symlink_metadata()
            .is_ok_and(|found| found.is_file() && found.nlink() > 1)
        {
            size += counter.one(&file);
        }
    }
    // The directory entries were counted with the environments.
    DiskUsage { entries: 0, ..size }
}
