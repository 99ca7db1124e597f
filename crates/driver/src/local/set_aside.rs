//! Moves standing caches with another layout aside, within the cache folder. Deletes nothing.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use hybrid_cache_model::pod::SET_ASIDE;
use hybrid_cache_model::{Failure, FailureKind};

use crate::local::driver::LocalDriver;
use crate::local::volumes::VolumePair;
use crate::local::{layout, permissions};

impl LocalDriver {
    /// Moves the standing caches that have another layout into a new folder beside them. Returns their new paths.
    ///
    /// # Errors
    /// They cannot be read or moved.
    pub fn set_aside(&self) -> Result<Vec<PathBuf>, Failure> {
        set_aside(&self.folders.standing())
    }
}

fn set_aside(volumes: &VolumePair) -> Result<Vec<PathBuf>, Failure> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let beside = volumes.python.with_file_name(format!("{SET_ASIDE}{}", now.as_secs()));
    let mut moved = Vec::new();
    for folder in layout::with_other_layout(volumes)? {
        let target = beside.join(folder.file_name().unwrap_or_default());
        let renamed = permissions::create_private(&beside).and_then(|()| fs::rename(&folder, &target));
        renamed.map_err(|error| {
            let message = format!("cannot move {} to {}: {error}", folder.display(), target.display());
            Failure::new(FailureKind::CacheAccess, message).hint("check the owner and the mode of the cache folder")
        })?;
        moved.push(target);
    }
    // The next task finds the empty folders that it expects.
    volumes
        .create()
        .map_err(|error| Failure::new(FailureKind::CacheAccess, error.to_string()))?;
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::Tenant;

    use super::*;
    use crate::local::Folders;
    use crate::needs::Needs;

    #[test]
    fn an_old_cache_is_moved_whole_and_a_current_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Folders::open(dir.path()).unwrap().standing();
        assert_eq!(
            set_aside(&volumes).unwrap(),
            Vec::<PathBuf>::new(),
            "empty ones stay too"
        );
        fs::create_dir_all(volumes.python.join("envs/k")).unwrap();
        fs::write(volumes.python.join("FORMAT"), "hybrid-cache python 1\n").unwrap();
        fs::create_dir_all(volumes.system_state()).unwrap();
        fs::write(volumes.system_state().join("FORMAT"), "hybrid-cache system 2\n").unwrap();
        assert_eq!(
            layout::ensure(&volumes, &Tenant::default(), Needs::BOTH)
                .unwrap_err()
                .kind,
            FailureKind::CacheFormat
        );
        let moved = set_aside(&volumes).unwrap();
        let [python] = &moved[..] else { panic!("{moved:?}") };
        assert!(python.to_string_lossy().contains("/volumes/set-aside-"), "{python:?}");
        assert_eq!(
            fs::read_to_string(python.join("FORMAT")).unwrap(),
            "hybrid-cache python 1\n"
        );
        assert!(python.join("envs/k").exists() && volumes.system_state().join("FORMAT").exists());
        layout::ensure(&volumes, &Tenant::default(), Needs::BOTH).unwrap();
        assert_eq!(set_aside(&volumes).unwrap(), Vec::<PathBuf>::new());
    }
}
