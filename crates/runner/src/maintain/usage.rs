//! What the Python volume holds, each inode counted once.
//!
//! Files are shared by hardlinks between environments and uv's cache, so a sum of folders would count them up to
//! eleven times. They count for the first layer in which they are met, in the order envs, bytecode, uv, other: so
//! `python/uv` is what only uv's cache keeps, that is, what could be freed without touching an environment.
//! Environments share byte-code by links to its folders: all of it is in `python/bytecode`, and only there.

use std::path::{Path, PathBuf};

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::{FileSystemUsage, LayerUsage, UsageReport};

use super::entries;
use crate::python::{PythonVolume, heal};
use crate::store::At;
use crate::store::measure::{Counter, Taken};

/// Measures the volume.
///
/// # Errors
/// A folder cannot be read.
pub fn usage(volume: &PythonVolume) -> Result<UsageReport, Failure> {
    let mut counter = Counter::new();
    let mut layers = Vec::new();
    for (name, folders) in folders(volume)? {
        let mut taken = Taken::default();
        for folder in folders {
            taken += counter.take(&folder)?;
        }
        let Taken { bytes, inodes, entries } = taken;
        layers.push(LayerUsage {
            layer: name.to_owned(),
            bytes,
            inodes,
            entries,
        });
    }
    let (mut environments, mut requests, mut healed) = (0, 0, 0);
    for tenant in PythonVolume::all(volume.root())? {
        let found = entries(&tenant.environments())?;
        environments += found.iter().filter(|path| !path.is_symlink()).count() as u64;
        let found = entries(&tenant.requests())?;
        requests += found.iter().filter(|path| path.exists()).count() as u64;
        healed += heal::count(&tenant);
    }
    let file_systems = vec![file_system("python", volume.root())?];
    Ok(UsageReport {
        layers,
        file_systems,
        environments,
        requests,
        system_sets: 0,
        healed,
    })
}

/// The folders of the cache, of all tenants, by layer.
///
/// # Errors
/// A folder cannot be read.
pub fn folders(volume: &PythonVolume) -> Result<[(&'static str, Vec<PathBuf>); 4], Failure> {
    let mut environments = Vec::new();
    let (mut pools, mut caches) = (vec![volume.root().join("bytecode")], vec![volume.root().join("uv")]);
    let mut other = vec![volume.locks(), volume.trash()];
    for tenant in PythonVolume::all(volume.root())? {
        environments.push(tenant.environments());
        pools.push(tenant.own().join("bytecode"));
        caches.push(tenant.own().join("uv"));
        other.extend([tenant.requests(), tenant.staging()]);
    }
    Ok([
        ("python/envs", environments),
        ("python/bytecode", pools),
        ("python/uv", caches),
        ("python/other", other),
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
