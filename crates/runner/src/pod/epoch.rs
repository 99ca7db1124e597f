//! The folders of an epoch on both PersistentVolumes: created before the first pod mounts them, deleted after the last.
//!
//! A kubelet creates a missing `subPath` folder as root, and then pods could not write there.

use std::fs;
use std::path::Path;

use hybrid_cache_model::pod::{nix_sub_path, python_sub_path};
use hybrid_cache_model::{Failure, FailureKind, Tenant};

use crate::python::PythonVolume;
use crate::store::format::PROBE;
use crate::store::{IoContext, files};
use crate::system::SystemVolume;

/// Creates both folders below `volumes`; existing ones are not changed.
///
/// # Errors
/// The name is invalid, or a volume cannot be written.
pub fn create(volumes: &Path, epoch: Option<&str>) -> Result<(), Failure> {
    epoch.map_or(Ok(()), check)?;
    for folder in [
        volumes.join("python").join(python_sub_path(epoch)),
        volumes.join("system").join(nix_sub_path(epoch)),
    ] {
        fs::create_dir_all(&folder).io_context("create the folder", &folder)?;
        // A unique name, so that concurrent probes do not remove each other.
        let probe = folder.join(files::unique_name(PROBE));
        fs::write(&probe, b"").io_context("write into", &folder)?;
        fs::remove_file(&probe).io_context("write into", &folder)?;
    }
    Ok(())
}

/// Creates the layout of both folders, and the tenant's folders, which its pods will mount.
///
/// # Errors
/// A volume has another layout, or cannot be written.
pub fn lay_out(volumes: &Path, epoch: Option<&str>, tenant: &Tenant) -> Result<(), Failure> {
    PythonVolume::open_write(&volumes.join("python").join(python_sub_path(epoch)), tenant)?;
    SystemVolume::new(volumes.join("system").join(nix_sub_path(epoch)), tenant).lay_out()
}

/// Deletes both folders of an epoch; absent ones are a success.
///
/// # Errors
/// The name is invalid, or something cannot be deleted.
pub fn delete(volumes: &Path, epoch: &str) -> Result<(), Failure> {
    check(epoch)?;
    for volume in ["python", "system"] {
        let folder = volumes.join(volume).join(python_sub_path(Some(epoch)));
        files::delete(&folder)?;
    }
    Ok(())
}

/// An epoch's name becomes part of a path.
fn check(epoch: &str) -> Result<(), Failure> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !epoch.is_empty() && epoch.len() <= 63 && epoch.chars().all(good) {
        return Ok(());
    }
    let message = format!("{epoch:?} is not a valid epoch name: use at most 63 lower-case letters, digits and `-`");
    Err(Failure::new(FailureKind::Internal, message))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_epoch_with_read_only_folders_is_created_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), None).unwrap();
        create(dir.path(), Some("first-1")).unwrap();
        let nix = dir.path().join("system/epochs/first-1/.nix-portable/nix");
        let store_path = nix.join("store/x-gcc/bin");
        fs::create_dir_all(&store_path).unwrap();
        fs::write(store_path.join("gcc"), "").unwrap();
        for folder in [&store_path, store_path.parent().unwrap()] {
            fs::set_permissions(folder, Permissions::from_mode(0o555)).unwrap();
        }
        let tenant: Tenant = "team-a".parse().unwrap();
        for epoch in [None, Some("first-1")] {
            lay_out(dir.path(), epoch, &tenant).unwrap();
            lay_out(dir.path(), epoch, &Tenant::default()).unwrap();
        }
        for folder in [
            "python/epochs/first-1",
            "python",
            "system/.nix-portable/nix/var/hybrid-cache",
        ] {
            for tenant in ["team-a", "default"] {
                assert!(
                    dir.path()
                        .join(folder)
                        .join("tenants")
                        .join(tenant)
                        .join("FORMAT")
                        .exists()
                );
            }
        }
        delete(dir.path(), "first-1").unwrap();
        delete(dir.path(), "first-1").unwrap();
        assert!(!dir.path().join("python/epochs/first-1").exists());
        assert!(!dir.path().join("system/epochs/first-1").exists());
        assert!(dir.path().join("system/.nix-portable/nix").exists());
    }

    #[test]
    fn an_epoch_name_that_leaves_the_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "..", "a/b", "A"] {
            assert!(create(dir.path(), Some(name)).is_err(), "{name:?}");
            assert!(delete(dir.path(), name).is_err(), "{name:?}");
        }
    }
}
