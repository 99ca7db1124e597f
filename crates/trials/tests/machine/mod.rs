//! What these tests stand on: this machine's driver with a cache folder of the test's own.

use std::path::{Path, PathBuf};

use hybrid_cache_driver::local::LocalConfig;

/// Names the file with this machine's configuration; `cargo xtask test` writes it.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_LOCAL_CONFIG";

/// This machine, and a folder that is deleted with it.
pub struct Machine {
    pub config: LocalConfig,
    root: PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Nix makes its folders read-only; what cannot be deleted only takes space.
        let _ = std::process::Command::new("chmod")
            .args(["-R", "u+w"])
            .arg(&self.root)
            .output();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// This machine; `None`, and a word about it, where nobody provisioned the tools.
pub fn open(test: &str) -> Option<Machine> {
    let Some(file) = std::env::var_os(CONFIG_VARIABLE) else {
        println!("skipped: {test}: {CONFIG_VARIABLE} is not set; `cargo xtask test` sets it");
        return None;
    };
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", Path::new(&file).display()));
    let mut config: LocalConfig = serde_json::from_slice(&text).unwrap();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("trials-{}-{test}", std::process::id()));
    config.root.clone_from(&root);
    Some(Machine { config, root })
}
