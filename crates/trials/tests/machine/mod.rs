//! What these tests stand on: this machine's driver with a cache folder of the test's own, and the cluster.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hybrid_cache_driver::Driver;
use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_trials::LocalSite;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

/// Names the file with this machine's configuration; `cargo xtask test` writes it.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_LOCAL_CONFIG";
/// Names the context of the kubeconfig.
const CONTEXT_VARIABLE: &str = "HYBRID_CACHE_KUBE_CONTEXT";
/// Names the file with the driver's configuration on the cluster.
const KUBE_CONFIG_VARIABLE: &str = "HYBRID_CACHE_KUBE_CONFIG";

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

impl Machine {
    pub fn site(&self) -> LocalSite {
        LocalSite::open(self.config.clone()).unwrap()
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

/// A driver on the cluster; `None`, and a word about it, where none is named.
pub async fn cluster(test: &str) -> Option<Arc<dyn Driver>> {
    let names = (std::env::var(CONTEXT_VARIABLE), std::env::var_os(KUBE_CONFIG_VARIABLE));
    let (Ok(context), Some(file)) = names else {
        println!("skipped: {test}: no cluster: {CONTEXT_VARIABLE} and {KUBE_CONFIG_VARIABLE} are not set");
        return None;
    };
    let options = KubeConfigOptions {
        context: Some(context),
        ..KubeConfigOptions::default()
    };
    let client = Client::try_from(Config::from_kubeconfig(&options).await.unwrap()).unwrap();
    let config: KubeConfig = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    Some(Arc::new(KubeDriver::open(client, config).await.unwrap()))
}
