//! Creates what a task's sandbox mounts of a pair of volumes, before the first sandbox. Changes nothing on a volume with
//! another layout.
//!
//! ```text
//! <python>/FORMAT, bytecode/                                   of everyone
//! <python>/tenants/<tenant>/FORMAT                             of one tenant; drawn in the runner's `python`
//! <nix>/store/, <nix>/var/hybrid-cache/FORMAT                  of everyone
//! <nix>/var/hybrid-cache/tenants/<tenant>/FORMAT               of one tenant; drawn in the runner's `system`
//! ```

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hybrid_cache_model::key::format_line;
use hybrid_cache_model::{Failure, FailureKind, Tenant};

use crate::ids;
use crate::local::permissions::{self, MOUNTED_MODE};
use crate::local::volumes::VolumePair;
use crate::needs::Needs;

const FORMAT_FILE: &str = "FORMAT";
/// What a folder may hold that counts as empty: what mkfs creates, and files that are being written.
const NOT_CONTENT: [&str; 2] = ["lost+found", ".FORMAT-"];

/// The folders of one cache on its volume.
struct CacheFolders {
    /// Whether the task uses it.
    is_needed: bool,
    /// Its name in its `FORMAT` files.
    name: &'static str,
    /// The folder of the first `FORMAT` file.
    root: PathBuf,
    /// Folders that the tasks of all tenants mount.
    shared: Vec<PathBuf>,
}

fn caches(volumes: &VolumePair, needs: Needs) -> impl Iterator<Item = CacheFolders> {
    let both = [
        CacheFolders {
            is_needed: needs.python,
            name: "python",
            root: volumes.python.clone(),
            shared: vec![volumes.python.join("bytecode")],
        },
        CacheFolders {
            is_needed: needs.system,
            name: "system",
            root: volumes.system_state(),
            shared: vec![volumes.nix().join("store")],
        },
    ];
    both.into_iter().filter(|cache| cache.is_needed)
}

/// Creates what a tenant's tasks mount of the volumes that they need, if it is missing.
///
/// # Errors
/// [`FailureKind::CacheFormat`] if a volume has another layout; [`FailureKind::CacheAccess`] if it cannot be written.
pub fn ensure(volumes: &VolumePair, tenant: &Tenant, needs: Needs) -> Result<(), Failure> {
    for cache in caches(volumes, needs) {
        let own = cache.root.join(tenant.folder());
        if own.join(FORMAT_FILE).exists() {
            continue;
        }
        check(&cache)?;
        create(&cache, &own).map_err(|error| {
            let message = format!("cannot create the folder {}: {error}", own.display());
            Failure::new(FailureKind::CacheAccess, message).hint("check the owner and the mode of the cache folder")
        })?;
    }
    Ok(())
}

/// The folders of the caches that have another layout.
///
/// # Errors
/// They cannot be read.
pub fn with_other_layout(volumes: &VolumePair) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for (cache, folder) in caches(volumes, Needs::BOTH).zip([&volumes.python, &volumes.system]) {
        match check(&cache) {
            Ok(()) => {}
            Err(failure) if failure.kind == FailureKind::CacheFormat => found.push(folder.clone()),
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}

/// Refuses a folder that has another layout or holds something else.
fn check(cache: &CacheFolders) -> Result<(), Failure> {
    let path = cache.root.join(FORMAT_FILE);
    let expected = format_line(cache.name);
    let message = match fs::read(&path) {
        Ok(found) if found == expected.as_bytes() => return Ok(()),
        Ok(found) => {
            let found = String::from_utf8_lossy(&found[..found.len().min(256)])
                .trim()
                .to_owned();
            format!(
                "{} says `{found}`, but this version uses `{}`",
                path.display(),
                expected.trim()
            )
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match first_content(&cache.root) {
            None => return Ok(()),
            // Another process may have begun to use the folder since the file was read.
            Some(_) if path.exists() => return check(cache),
            Some(name) => format!(
                "{} holds `{name}` but no {FORMAT_FILE} file, so it is not a cache of hybrid-cache",
                cache.root.display()
            ),
        },
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            return Err(Failure::new(FailureKind::CacheAccess, message)
                .hint("check the owner and the mode of the cache folder"));
        }
    };
    Err(Failure::new(FailureKind::CacheFormat, message)
        .hint("move it aside with `cargo xtask cache set-aside`, which deletes nothing"))
}

fn first_content(folder: &Path) -> Option<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.find(|name| !NOT_CONTENT.iter().any(|known| name.starts_with(known)))
}

fn create(cache: &CacheFolders, own: &Path) -> io::Result<()> {
    permissions::create_private(&cache.root)?;
    write_format(&cache.root, cache.name)?;
    if let Some(tenants) = own.parent() {
        permissions::create_private(tenants)?;
    }
    for folder in cache.shared.iter().map(PathBuf::as_path).chain([own]) {
        DirBuilder::new().recursive(true).mode(MOUNTED_MODE).create(folder)?;
        // The umask of this process may have changed the mode.
        fs::set_permissions(folder, Permissions::from_mode(MOUNTED_MODE))?;
    }
    write_format(own, cache.name)
}

/// Writes the file completely or not at all. Keeps a file that exists.
fn write_format(folder: &Path, cache: &str) -> io::Result<()> {
    let path = folder.join(FORMAT_FILE);
    if path.exists() {
        return Ok(());
    }
    let temporary = folder.join(ids::unique(".FORMAT"));
    let mut file = fs::File::create_new(&temporary)?;
    file.write_all(format_line(cache).as_bytes())?;
    // User code reads the file, too.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()?;
    fs::rename(&temporary, &path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Folders;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_tenant_gets_its_folders_on_both_volumes_and_other_users_see_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cache");
        let volumes = Folders::open(&root).unwrap().standing();
        let tenant: Tenant = "team-a".parse().unwrap();
        for _ in 0..2 {
            ensure(&volumes, &tenant, Needs::BOTH).unwrap();
        }
        let own = [
            volumes.python.join(tenant.folder()),
            volumes.system_state().join(tenant.folder()),
        ];
        for (folder, line) in own.iter().zip(["hybrid-cache python 2\n", "hybrid-cache system 2\n"]) {
            assert_eq!(fs::read_to_string(folder.join(FORMAT_FILE)).unwrap(), line);
            assert_eq!(mode(folder), 0o755);
        }
        for folder in [
            &root,
            &root.join("volumes"),
            &volumes.python,
            &volumes.system,
            &volumes.nix(),
        ] {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
    }

    #[test]
    fn a_volume_with_another_layout_is_refused_and_not_changed() {
        for (file, text) in [("FORMAT", "hybrid-cache python 1\n"), ("photo.jpg", "x")] {
            let dir = tempfile::tempdir().unwrap();
            let volumes = Folders::open(dir.path()).unwrap().standing();
            fs::write(volumes.python.join(file), text).unwrap();
            let failure = ensure(&volumes, &Tenant::default(), Needs::BOTH).unwrap_err();
            assert_eq!(failure.kind, FailureKind::CacheFormat);
            assert!(failure.to_string().contains("cargo xtask cache set-aside"), "{failure}");
            assert_eq!(fs::read_dir(&volumes.python).unwrap().count(), 1);
        }
    }
}
