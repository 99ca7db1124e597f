//! Evicts the environment of an epoch by the driver's own eviction, and keeps what was downloaded for it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hybrid_cache_driver::Epoch;
use hybrid_cache_driver::local::{LocalDriver, Maintenance, VolumePair};
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::protocol::PackageSource;
use hybrid_cache_tools::{ErrorContext, Result};

use super::contents::{is_download, uv_caches};

/// Folder of roots below Nix's own, so that its garbage collector keeps what was downloaded.
const ROOTS: &str = "var/nix/gcroots/bench-levels";
/// Where uv's caches are meanwhile, beside the volumes.
const ASIDE: &str = "downloads-aside";

/// Evicts all environments of an epoch. uv's caches are moved aside meanwhile, because an eviction down to nothing takes unused
/// wheels as well; downloads in the Nix store get roots. For nixpkgs all store paths are downloads, so only their registration goes.
///
/// # Errors
/// The eviction failed, or files cannot be moved.
pub async fn evict(driver: &LocalDriver, epoch: &Epoch, source: Option<&PackageSource>) -> Result<()> {
    let volumes = driver.folders().volumes(epoch);
    let moved = set_aside(&volumes)?;
    let roots = volumes.nix().join(ROOTS);
    if let Some(source) = source {
        keep_downloads(&volumes, source, &roots)?;
    }
    let everything = Maintenance::Gc {
        budget_bytes: Some(0),
        budget_inodes: None,
    };
    let evicted = driver.maintain(epoch, everything).await;
    put_back(&moved)?;
    delete(&roots)?;
    match evicted? {
        MaintainReport::Failed { failure } => Err(failure.into()),
        _ => Ok(()),
    }
}

fn set_aside(volumes: &VolumePair) -> Result<Vec<(PathBuf, PathBuf)>> {
    let parent = volumes.python.with_file_name(ASIDE);
    delete(&parent)?;
    std::fs::create_dir(&parent).with_context(|| format!("making {}", parent.display()))?;
    let mut moved = Vec::new();
    for (number, cache) in uv_caches(&volumes.python).into_iter().enumerate() {
        let to = parent.join(number.to_string());
        std::fs::rename(&cache, &to).with_context(|| format!("moving {}", cache.display()))?;
        moved.push((cache, to));
    }
    Ok(moved)
}

fn put_back(moved: &[(PathBuf, PathBuf)]) -> Result<()> {
    for (place, aside) in moved {
        // The eviction may have made an empty one, or removed the tenant's folder.
        delete(place)?;
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::rename(aside, place).with_context(|| format!("moving {} back", place.display()))?;
    }
    Ok(())
}

fn keep_downloads(volumes: &VolumePair, source: &PackageSource, roots: &Path) -> Result<()> {
    let store = volumes.nix().join("store");
    let Ok(entries) = std::fs::read_dir(&store) else {
        return Ok(());
    };
    std::fs::create_dir_all(roots).with_context(|| format!("making {}", roots.display()))?;
    for entry in entries.flatten().filter(|entry| is_download(source, &entry.path())) {
        let name = entry.file_name();
        symlink(Path::new("/nix/store").join(&name), roots.join(&name))?;
    }
    Ok(())
}

fn delete(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("deleting {}", folder.display()))
        }
        _ => Ok(()),
    }
}
