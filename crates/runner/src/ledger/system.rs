//! Refreshes the ledger of a system volume. Its parts are store paths; an environment is an index entry.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use hybrid_cache_model::Failure;

use super::lease_times::{last_use, micros, stamp};
use super::{Ledger, Member, Part, PartId, id};

use crate::store::folder::{entries, relative};
use crate::store::measure::{Counter, DiskUsage};
use crate::system::{SystemVolume, index_entries};

/// The modification time that Nix gives every finished store path, in seconds since 1970.
const FINISHED_S: i64 = 1;

/// Brings the ledger up to date: lists names, measures new parts, removes those that are gone.
pub fn refresh(volume: &SystemVolume, ledger: &mut Ledger) -> Result<(), Failure> {
    let now_us = micros(Ok(SystemTime::now()));
    let mut present = BTreeSet::new();
    let mut needed = BTreeSet::new();
    for (tenant, path) in index_entries::all(volume)? {
        let name = relative(volume.root(), &path);
        let Ok(found) = path.metadata() else { continue };
        let lease = index_entries::lease_of(&tenant, &path).metadata();
        let lease_us = micros(lease.and_then(|lease| lease.modified()));
        present.insert(name.clone());
        let known = ledger.members().get(&name).filter(|known| known.stamp == stamp(&found));
        let member = match known.cloned() {
            Some(known) => Member {
                used_us: last_use(Some(known.used_us), lease_us, now_us),
                ..known
            },
            None => {
                // A damaged entry has no parts and is evicted like any other.
                let closure = index_entries::read(&path)
                    .map(|entry| entry.closure)
                    .unwrap_or_default();
                Member {
                    name,
                    used_us: last_use(None, lease_us, now_us),
                    stamp: stamp(&found),
                    own: DiskUsage::default(),
                    parts: closure.iter().map(|path| id(&part_name(path))).collect(),
                }
            }
        };
        needed.extend(member.parts.iter().copied());
        ledger.add_member(member);
    }
    ledger.keep_members(&present);
    let has_new = store_paths(volume, ledger, &needed)?;
    // This walks the volume, so it is done only for new store paths and after a collection.
    if has_new || ledger.rest().is_none() {
        ledger.set_rest(rest(volume)?);
    }
    Ok(())
}

/// The disk usage of everything beside store paths: Nix's database, roots, and hybrid-cache's own files.
pub fn rest(volume: &SystemVolume) -> Result<DiskUsage, Failure> {
    let mut rest = Counter::itself(&volume.root().join("store"));
    for path in entries(volume.root())? {
        if path != volume.root().join("store") {
            rest += Counter::new().measure(&path)?;
        }
    }
    rest += Counter::itself(volume.root());
    Ok(rest)
}

/// True if there was a store path that the ledger did not have.
fn store_paths(volume: &SystemVolume, ledger: &mut Ledger, needed: &BTreeSet<PartId>) -> Result<bool, Failure> {
    let mut there = BTreeSet::new();
    let mut has_new = false;
    for path in entries(&volume.root().join("store"))? {
        let name = relative(volume.root(), &path);
        let number = id(&name);
        there.insert(number);
        if ledger.is_measured(number) {
            continue;
        }
        has_new |= !ledger.parts().contains_key(&number);
        let Ok(found) = path.symlink_metadata() else { continue };
        let size = Counter::new().measure(&path)?;
        let part = Part { name, mark: 0, size };
        // A path that a build is still writing is measured again each time.
        if found.mtime() == FINISHED_S || needed.contains(&number) {
            ledger.add_part(part);
        } else {
            ledger.add_unfinished(part);
        }
    }
    ledger.keep_parts(|id, _| there.contains(&id));
    Ok(has_new)
}

/// The part name of a store path.
pub fn part_name(path: &str) -> String {
    let name = Path::new(path).file_name().unwrap_or_default();
    format!("store/{}", name.to_string_lossy())
}
