//! A cluster for the tests. It is created if its node image is available, and deleted afterwards.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hybrid_cache_driver::kube::KubeConfig;
use hybrid_cache_image::docker::Engine;
use hybrid_cache_image::node_image;
use hybrid_cache_tools::{Checkout, ErrorContext, Progress, Result, failed, installed_pythons};

use crate::connection;
use crate::down::down;
use crate::kind_cli::KindCli;
use crate::options::{ClusterChoice, DownOptions, UpOptions};
use crate::state::StateFolder;
use crate::up::up;

/// Name of the tests' own cluster; a user's cluster is left alone.
const NAME: &str = "hybrid-cache-test";
/// The operator's settings of the tests, in the checkout.
const SETTINGS: &str = "target/test-settings.yaml";

/// A cluster reserved for one run of the tests.
pub struct TestCluster {
    state: StateFolder,
    /// Lock that is held until the tests have ended: two runs must not share a cluster that one of them deletes.
    _in_use: File,
}

impl TestCluster {
    /// Name of the cluster.
    pub const NAME: &str = NAME;

    /// Reserves the cluster, and checks that everything needed to create it is on this machine. Creates nothing yet.
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

    /// Creates the cluster and returns the variables by which tests find it. If this fails or is dropped, delete the cluster.
    ///
    /// # Errors
    /// The cluster does not become Ready.
    pub async fn make(&self, checkout: &Checkout, progress: &Arc<dyn Progress>) -> Result<Vec<(&'static str, String)>> {
        let settings = settings(checkout, further_python().as_deref())?;
        if let Err(error) = up(checkout, &wanted(false, &settings), progress).await {
            // A machine of another distribution may have no Python that runs in the image.
            progress.line(&format!("without a second Python in the image: {error:#}"));
            self::settings(checkout, None)?;
            up(checkout, &wanted(false, &settings), progress).await?;
        }
        let config = connection::config(checkout, None).await?;
        Ok(vec![
            ("HYBRID_CACHE_KUBE_CONTEXT", format!("kind-{NAME}")),
            (
                "HYBRID_CACHE_KUBE_CONFIG",
                write(checkout, "kube-config.json", &config)?,
            ),
            ("KUBECONFIG", self.state.kubeconfig().display().to_string()),
        ])
    }

    /// Installs Argo Workflows in the created cluster and returns the variable by which tests find it. A node image from another
    /// build has no Argo, and works for all other tests.
    ///
    /// # Errors
    /// Argo Workflows does not become Ready.
    pub async fn add_argo(&self, checkout: &Checkout, progress: &Arc<dyn Progress>) -> Result<(&'static str, String)> {
        let settings = checkout.path(SETTINGS);
        up(checkout, &wanted(true, &settings), progress).await?;
        let config = connection::with_argo(connection::config(checkout, None).await?);
        Ok((
            "HYBRID_CACHE_ARGO_CONFIG",
            write(checkout, "argo-config.json", &config)?,
        ))
    }

    /// Deletes the cluster and its caches.
    ///
    /// # Errors
    /// The cluster cannot be deleted; the message says that it still exists.
    pub async fn delete(&self, checkout: &Checkout, progress: &dyn Progress) -> Result<()> {
        let options = DownOptions {
            cluster: choice(),
            volumes: true,
            service_data: true,
        };
        let deleted = down(checkout, &options, progress).await;
        deleted.with_context(TestCluster::left)
    }

    /// The message for a user if deleting the cluster was interrupted.
    pub fn left() -> String {
        format!("{NAME} may be left: `cargo xtask down --name {NAME} --volumes` deletes it")
    }
}

/// Writes the operator's settings of the tests: one Python more than the image has by itself.
fn settings(checkout: &Checkout, python: Option<&str>) -> Result<PathBuf> {
    let file = checkout.path(SETTINGS);
    let text = python.map_or_else(String::new, |version| format!("pythonVersions: ['{version}']\n"));
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

/// The newest Python of this machine that the image does not have.
fn further_python() -> Option<String> {
    let mut pythons = installed_pythons();
    pythons.retain(|one| !one.version.starts_with("3.11."));
    pythons.pop().map(|one| one.version)
}

fn wanted(with_argo: bool, settings: &Path) -> UpOptions {
    UpOptions {
        cluster: ClusterChoice {
            settings: Some(settings.to_owned()),
            ..choice()
        },
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

/// Writes the settings of a driver to a file in the target folder and returns its path.
fn write(checkout: &Checkout, name: &str, config: &KubeConfig) -> Result<String> {
    let path = checkout.path("target").join(name);
    write_private(&path, &serde_json::to_vec_pretty(config)?).context("writing the tests' config")?;
    Ok(path.display().to_string())
}

/// Writes a file that may hold the address of an index and its password.
///
/// # Errors
/// The file cannot be written.
pub fn write_private(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut opened = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    opened.write_all(text)
}
