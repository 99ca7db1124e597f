//! Which package source filled a cache folder: without a network nobody can tell which one would be chosen, and what is
//! cached is found by it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hybrid_cache_driver::local::SystemConfig;

fn file(root: &Path) -> PathBuf {
    root.join("system-source.json")
}

/// Keeps what was chosen beside the caches in `root`. A folder that cannot be written keeps what it has,
/// and the warning says so.
pub fn keep(root: &Path, system: &SystemConfig) -> Option<String> {
    let text = serde_json::to_vec_pretty(system).ok()?;
    if fs::read(file(root)).is_ok_and(|kept| kept == text) {
        return None;
    }
    let error = write(root, &text).err()?;
    let file = file(root);
    Some(format!(
        "warning: {}: {error}; without a network system packages will not be found",
        file.display()
    ))
}

/// Whole or not at all, and for its owner alone: the address of a mirror may hold a password.
fn write(root: &Path, text: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(root)?;
    let staged = root.join(format!(".system-source-{}", std::process::id()));
    let mut opened = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)?;
    opened.write_all(text)?;
    fs::rename(&staged, file(root))
}

/// What was chosen when these caches were last used with a network.
pub fn recall(root: &Path) -> Option<SystemConfig> {
    serde_json::from_slice(&fs::read(file(root)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hybrid_cache_model::protocol::{PackageSource, Provider, SystemTools};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_chosen_last_is_recalled_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("not/there/yet");
        assert!(recall(&root).is_none());
        for id in ["nixpkgs:1", "nixpkgs:2"] {
            let flake = "github:NixOS/nixpkgs/1".to_owned();
            let program = "/usr/bin/nix".to_owned();
            let tools = SystemTools {
                provider: Provider::Nix { program },
                source: PackageSource::Nixpkgs { flake },
                variables: Vec::new(),
            };
            let source_id = id.to_owned();
            keep(&root, &SystemConfig { tools, source_id });
            assert_eq!(recall(&root).unwrap().source_id, id);
        }
        assert_eq!(fs::metadata(file(&root)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
        fs::write(file(&root), "{").unwrap();
        assert!(recall(&root).is_none());
    }
}
