//! A cluster for the tests: the one that is up, or one made for them where its node image is at hand.

use anyhow::{Context, Result};
use hybrid_cache_driver::kube::KubeConfig;

use super::state::StateFolder;
use super::{down, place, up};
use crate::checkout::Checkout;
use crate::docker::Engine;
use crate::{flags, node_image, test};

const NAME: &str = "hybrid-cache";

/// A cluster that tests may use.
pub struct TrialCluster {
    /// Tells the tests which.
    pub variables: Vec<(&'static str, String)>,
    was_up: bool,
}

impl TrialCluster {
    /// Takes it down again, where it was made for the tests. Its caches stay.
    ///
    /// # Errors
    /// It cannot be taken down.
    pub fn take_down(self) -> Result<()> {
        if self.was_up {
            return Ok(());
        }
        let flags = flags::Down {
            cluster: which(),
            volumes: false,
        };
        down::run(&flags).map(|_| ())
    }
}

/// Brings a cluster up, or says why there is none.
///
/// # Errors
/// There is no Docker, no node image at hand, or the cluster does not come up.
pub fn for_tests(checkout: &Checkout) -> Result<TrialCluster> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let state = StateFolder::of(NAME)?;
    let was_up = runtime.block_on(at_hand(checkout, &state))?;
    up::run(&wanted(false))?;
    let config = runtime.block_on(place::config(checkout))?;
    let mut variables = vec![
        ("HYBRID_CACHE_KUBE_CONTEXT", format!("kind-{NAME}")),
        ("HYBRID_CACHE_KUBE_CONFIG", kept(checkout, "kube-config.json", &config)?),
        ("KUBECONFIG", state.kubeconfig().display().to_string()),
    ];
    // A node image of another making has no Argo, and is as good for all other tests.
    match up::run(&wanted(true)) {
        Ok(_) => {
            let file = kept(checkout, "argo-config.json", &place::with_argo(config))?;
            variables.push(("HYBRID_CACHE_ARGO_CONFIG", file));
        }
        Err(error) => eprintln!("skipped: tests of Workflows: {error:#}"),
    }
    Ok(TrialCluster { variables, was_up })
}

fn wanted(with_argo: bool) -> flags::Up {
    flags::Up {
        cluster: which(),
        plan: false,
        recreate: false,
        node_image: None,
        storage_class: None,
        volumes_dir: None,
        no_task: true,
        with_argo,
        with_service: None,
    }
}

/// Writes what a driver is told into a file of the target folder; its path.
fn kept(checkout: &Checkout, name: &str, config: &KubeConfig) -> Result<String> {
    let file = checkout.path("target").join(name);
    test::write_private(&file, &serde_json::to_vec_pretty(config)?).context("writing the tests' config")?;
    Ok(file.display().to_string())
}

fn which() -> flags::Cluster {
    flags::Cluster {
        name: NAME.to_owned(),
        context: None,
    }
}

/// True where the cluster is up; an error where making one would need what is not at hand.
async fn at_hand(checkout: &Checkout, state: &StateFolder) -> Result<bool> {
    let engine = Engine::connect().await?;
    if !super::node::containers(&engine, NAME).await?.is_empty() && state.kubeconfig().is_file() {
        return Ok(true);
    }
    let image = node_image::image_tag(checkout)?;
    let found = engine.image(&image).await?;
    found.with_context(|| format!("no node image {image} at hand\nhint: `cargo xtask node-image` builds it"))?;
    Ok(false)
}
