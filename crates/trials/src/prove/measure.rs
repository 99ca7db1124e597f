//! What a volume holds, seen from outside: blocks and unique inodes by part, environment, and the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use hybrid_cache_sizing::{Volume, Weight};

use crate::error::TrialError;
use crate::prove::system;

/// Bytes of the blocks in which `stat` counts.
const STAT_BLOCK: u64 = 512;

/// A volume's content.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Unpacked wheels and folders of bytecode, or store paths, by path below the volume.
    pub parts: BTreeMap<String, Weight>,
    /// Environments, by path below the volume.
    pub environments: BTreeMap<String, FoundEnvironment>,
    /// Everything else: uv's notes, requests, locks, the ledger, folders that only hold others.
    pub beside: Weight,
}

/// An environment on a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundEnvironment {
    /// Usage outside of its parts.
    pub own: Weight,
    /// Its parts.
    pub parts: BTreeSet<String>,
}

impl Found {
    /// Parts and environments together.
    pub fn held(&self) -> Weight {
        let own = self.environments.values().map(|environment| environment.own);
        self.parts.values().copied().chain(own).sum()
    }
}

/// Where a path belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PathOwner {
    Part(String),
    Environment(String),
    Neither,
}

/// On a Python volume parts are `uv/archive-*/<name>` and `bytecode/<abi>/<key>`, environments
/// `tenants/<tenant>/envs/<key>`; on a system volume parts are `store/<name>`, and environments take nothing of their own.
fn place(kind: Volume, inside: &Path) -> PathOwner {
    let names: Vec<&str> = inside
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    match names[..] {
        ["store", _, ..] if kind == Volume::System => PathOwner::Part(names[..2].join("/")),
        _ if kind == Volume::System => PathOwner::Neither,
        ["uv", archive, _, ..] if archive.starts_with("archive-") => PathOwner::Part(names[..3].join("/")),
        ["bytecode", _, _, ..] => PathOwner::Part(names[..3].join("/")),
        ["tenants", _, "envs", _, ..] => PathOwner::Environment(names[..4].join("/")),
        _ => PathOwner::Neither,
    }
}

/// Walks the volume.
///
/// # Errors
/// Something cannot be read. Nobody else may work on the volume meanwhile.
pub fn measure(kind: Volume, volume: &Path) -> Result<Found, TrialError> {
    let mut all: Vec<(PathBuf, fs::Metadata)> = Vec::new();
    walk(volume, &mut all).map_err(TrialError::io(format!("measuring {}", volume.display())))?;
    let inside = |path: &Path| path.strip_prefix(volume).unwrap_or(path).to_owned();
    let mut found = Found::default();
    // Files of parts have names in environments as well, and count for the part.
    let mut owners: HashMap<u64, String> = HashMap::new();
    for (path, metadata) in &all {
        if let PathOwner::Part(part) = place(kind, &inside(path))
            && owners.insert(metadata.ino(), part.clone()).is_none()
        {
            *found.parts.entry(part).or_default() += weight(metadata);
        }
    }
    let mut seen: BTreeSet<u64> = owners.keys().copied().collect();
    for (path, metadata) in &all {
        match place(kind, &inside(path)) {
            PathOwner::Part(_) => {}
            PathOwner::Environment(name) => {
                let environment = found.environments.entry(name).or_default();
                if let Some(part) = owners.get(&metadata.ino()) {
                    environment.parts.insert(part.clone());
                } else if seen.insert(metadata.ino()) {
                    environment.own += weight(metadata);
                }
                if metadata.is_symlink()
                    && let Ok(target) = path.canonicalize()
                    && let Ok(target) = target.strip_prefix(volume)
                    && let PathOwner::Part(part) = place(kind, target)
                {
                    environment.parts.insert(part);
                }
            }
            PathOwner::Neither if seen.insert(metadata.ino()) => found.beside += weight(metadata),
            PathOwner::Neither => {}
        }
        if kind == Volume::System && is_entry(path) {
            let environment = FoundEnvironment {
                parts: system::parts(path),
                ..FoundEnvironment::default()
            };
            found
                .environments
                .insert(inside(path).display().to_string(), environment);
        }
    }
    Ok(found)
}

/// True for an entry of the system index.
fn is_entry(path: &Path) -> bool {
    let parent = path.parent().and_then(Path::file_name);
    parent.is_some_and(|parent| parent == "index") && path.extension().is_some_and(|kind| kind == "json")
}

fn weight(metadata: &fs::Metadata) -> Weight {
    Weight::new(metadata.blocks() * STAT_BLOCK, 1)
}

fn walk(folder: &Path, all: &mut Vec<(PathBuf, fs::Metadata)>) -> io::Result<()> {
    all.push((folder.to_owned(), folder.symlink_metadata()?));
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            walk(&entry.path(), all)?;
        } else {
            all.push((entry.path(), metadata));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_file_counts_once_and_for_its_part() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let write = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![1; 5000]).unwrap();
            path
        };
        let wheel = write("uv/archive-v0/abc/file");
        write("bytecode/cp311/key/m.pyc");
        write("tenants/default/envs/one/own");
        write("tenants/default/envs/two/own");
        write("locks/x");
        for name in ["one", "two"] {
            let environment = root.join("tenants/default/envs").join(name);
            fs::hard_link(&wheel, environment.join("file")).unwrap();
        }
        let link = root.join("tenants/default/envs/one/cache");
        std::os::unix::fs::symlink("../../../../bytecode/cp311/key", link).unwrap();
        let found = measure(Volume::Python, &root).unwrap();
        assert_eq!(
            found.parts.keys().collect::<Vec<_>>(),
            ["bytecode/cp311/key", "uv/archive-v0/abc"]
        );
        let parts: Vec<usize> = found.environments.values().map(|one| one.parts.len()).collect();
        assert_eq!(parts, [2, 1]);
        let inodes: Vec<u64> = found.environments.values().map(|one| one.own.inodes).collect();
        assert_eq!((inodes, found.parts["uv/archive-v0/abc"].inodes), (vec![3, 2], 2));
        // Folders above them, and the lock.
        assert_eq!(found.beside.inodes, 10);
        let mut all = Vec::new();
        walk(&root, &mut all).unwrap();
        let unique: HashMap<u64, u64> = all.iter().map(|(_, one)| (one.ino(), one.blocks() * 512)).collect();
        let together = found.held() + found.beside;
        assert_eq!(together, Weight::new(unique.values().sum(), unique.len() as u64));
    }
}
