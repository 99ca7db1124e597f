//! A cluster for the tests, made for them if its node image is there, and deleted afterwards.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use hybrid_cache_driver::kube::KubeConfig;
use hybrid_cache_image::docker::Engine;
use hybrid_cache_image::node_image;
use hybrid_cache_tools::{Checkout, ErrorContext, Progress, Result, failed};

use crate::connection;
use crate::down::down;
use crate::kind_cli::KindCli;
use crate::options::{ClusterChoice, DownOptions, UpOptions};
use crate::state::StateFolder;
use crate::up::up;

/// The tests' own cluster: that of a person is left alone.
const NAME: &str = "hybrid-cache-test";

/// A cluster that tests may use, and that no other run of the tests uses meanwhile.
pub struct TestCluster {
    state: StateFolder,
    /// Held until the tests have ended: two runs do not share a cluster that one of them deletes.
    _in_use: File,
}

impl TestCluster {
    /// Its name.
    pub const NAME: &str = NAME;

    /// Reserves the cluster, and checks that making it needs nothing that is not on this machine. Makes nothing yet.
    ///
    /// # Errors
    /// There is no Docker, no kind or no node image, or another run uses the cluster.
    pub async fn reserve(checkout: &Checkout) -> Result<TestCluster> {
        let state = StateFolder::for_cluster(NAME)?;
        let (engine, _) = tokio::try_join!(Engine::connect(), KindCli::find(checkout))?;
        let image = node_image::image_tag(checkout)?;
        let found = engine.image(&image).await?;
        found.with_context(|| format!("there is no node image {image}\nhint: `cargo xtask node-image` builds it"))?;
        state.make()?;
        let in_use = state.test_lock_file()?;
        let locked = in_use.try_lock();
        locked.map_err(|_| failed!("another `cargo xtask test` uses cluster {NAME}"))?;
        Ok(TestCluster { state, _in_use: in_use })
    }

    /// Makes the cluster; the variables by which tests find it. If this fails or is dropped, delete the cluster.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn make(&self, checkout: &Checkout, progress: &Arc<dyn Progress>) -> Result<Vec<(&'static str, String)>> {
        up(checkout, &wanted(false), progress).await?;
        let config = connection::config(checkout).await?;
        Ok(vec![
            ("HYBRID_CACHE_KUBE_CONTEXT", format!("kind-{NAME}")),
            (
                "HYBRID_CACHE_KUBE_CONFIG",
                write(checkout, "kube-config.json", &config)?,
            ),
            ("KUBECONFIG", self.state.kubeconfig().display().to_string()),
        ])
    }

    /// Brings Argo Workflows into the cluster that was made; the variable by which tests find it. A node image of another making
    /// has no Argo, and is as good for all other tests.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn add_argo(&self, checkout: &Checkout, progress: &Arc<dyn Progress>) -> Result<(&'static str, String)> {
        up(checkout, &wanted(true), progress).await?;
        let config = connection::with_argo(connection::config(checkout).await?);
        Ok((
            "HYBRID_CACHE_ARGO_CONFIG",
            write(checkout, "argo-config.json", &config)?,
        ))
    }

    /// Deletes it with its caches.
    ///
    /// # Errors
    /// It cannot be deleted; the message says that it is left.
    pub async fn delete(&self, checkout: &Checkout, progress: &dyn Progress) -> Result<()> {
        let options = DownOptions {
            cluster: choice(),
            volumes: true,
            service_data: true,
        };
        let deleted = down(checkout, &options, progress).await;
        deleted.with_context(TestCluster::left)
    }

    /// What to tell a person if deleting it was interrupted.
    pub fn left() -> String {
        format!("{NAME} may be left: `cargo xtask down --name {NAME} --volumes` deletes it")
    }
}

fn wanted(with_argo: bool) -> UpOptions {
    UpOptions {
        cluster: choice(),
        no_smoke_test: true,
        with_argo,
        ..UpOptions::default()
    }
}

fn choice() -> ClusterChoice {
    ClusterChoice {
        name: NAME.to_owned(),
        ..ClusterChoice::default()
    }
}

/// Writes what a driver is told into a file of the target folder; its path.
fn write(checkout: &Checkout, name: &str, config: &KubeConfig) -> Result<String> {
    let path = checkout.path("target").join(name);
    write_private(&path, &serde_json::to_vec_pretty(config)?).context("writing the tests' config")?;
    Ok(path.display().to_string())
}

/// Writes a file that may hold the address of an index together with its password.
///
/// # Errors
/// It cannot be written.
pub fn write_private(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut opened = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    opened.write_all(text)
}
