//! Moves caches with another layout aside, within their volume. Deletes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hybrid_cache_model::pod::{SET_ASIDE, nix_sub_path};
use hybrid_cache_model::{Failure, FailureKind, Tenant};

use super::epoch;
use crate::python;
use crate::store::format::{self, FormatAccess};
use crate::store::{IoContext, tenants};
use crate::system::SystemVolume;

/// What stays in the root of a volume: what mkfs creates, and epochs, which their benchmarks delete.
const STAYING: [&str; 2] = ["lost+found", "epochs"];

/// Moves the standing caches below `volumes` that have another layout. Returns the new folders, relative to `volumes`.
///
/// Creates new folders for the tenants of a moved cache, because a driver that created them before does not do so
/// again.
///
/// # Errors
/// A volume cannot be read or written.
pub fn all(volumes: &Path) -> Result<Vec<String>, Failure> {
    let (python, system) = (volumes.join("python"), volumes.join("system"));
    let state = SystemVolume::new(system.join(nix_sub_path(None)), &Default::default()).state();
    let caches = [
        (&python, python.clone(), python::CACHE),
        (&system, state, crate::system::CACHE_NAME),
    ];
    let mut folders = Vec::new();
    let mut moved_tenants = BTreeSet::new();
    for (root, marked, cache) in caches {
        if is_other(&marked, cache)? {
            moved_tenants.insert(Tenant::default());
            moved_tenants.extend(tenants::list(&marked)?);
            let folder = move_away(root)?;
            folders.push(folder.strip_prefix(volumes).unwrap_or(&folder).display().to_string());
        }
    }
    for tenant in &moved_tenants {
        epoch::lay_out(volumes, None, tenant)?;
    }
    Ok(folders)
}

fn is_other(marked: &Path, cache: &str) -> Result<bool, Failure> {
    if !marked.exists() {
        return Ok(false);
    }
    match format::open(marked, cache, FormatAccess::Read) {
        Ok(_) => Ok(false),
        Err(failure) if failure.kind == FailureKind::CacheFormat => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// Moves the content of a volume's root, which is a mount point, into a new folder there.
fn move_away(root: &Path) -> Result<PathBuf, Failure> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let folder = root.join(format!("{SET_ASIDE}{}", now.as_secs()));
    fs::create_dir(&folder).io_context("create the folder", &folder)?;
    for entry in fs::read_dir(root).io_context("read the folder", root)? {
        let entry = entry.io_context("read the folder", root)?;
        let name = entry.file_name();
        let stays = STAYING.iter().any(|known| name == *known) || name.to_string_lossy().starts_with(SET_ASIDE);
        if !stays {
            let target = folder.join(&name);
            fs::rename(entry.path(), &target).io_context("rename", &target)?;
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_cache_is_moved_whole_and_a_current_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("system/.nix-portable/nix/var/hybrid-cache");
        for folder in [
            "python/envs/k",
            "python/tenants/team-a",
            "python/lost+found",
            "python/epochs/e",
        ] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::create_dir_all(&state).unwrap();
        fs::write(dir.path().join("python/FORMAT"), "hybrid-cache python 1\n").unwrap();
        fs::write(state.join("FORMAT"), hybrid_cache_model::key::format_line("system")).unwrap();
        let folders = all(dir.path()).unwrap();
        let [moved] = &folders[..] else { panic!("{folders:?}") };
        assert!(moved.starts_with("python/set-aside-"), "{moved}");
        let moved = dir.path().join(moved);
        assert_eq!(
            fs::read_to_string(moved.join("FORMAT")).unwrap(),
            "hybrid-cache python 1\n"
        );
        assert!(moved.join("envs/k").exists() && state.join("FORMAT").exists());
        assert!(dir.path().join("python/epochs/e").exists() && dir.path().join("python/lost+found").exists());
        assert_eq!(all(dir.path()).unwrap(), Vec::<String>::new());
        for tenant in ["default", "team-a"] {
            let folder = dir.path().join("python/tenants").join(tenant);
            assert!(folder.join("FORMAT").exists(), "{tenant}");
        }
        assert!(dir.path().join("python/bytecode").is_dir());
    }
}
