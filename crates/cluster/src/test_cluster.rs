//! A cluster for the tests, made for them where its node image is at hand, and deleted afterwards.

use std::fs::File;

use hybrid_cache_driver::kube::KubeConfig;

use hybrid_cache_tools::{Error, ErrorContext, Result};
use hybrid_cache_tools::failed;
use crate::kind_cli::Kind;
use crate::state::StateFolder;
use crate::{down, place, up};
use hybrid_cache_tools::Checkout;
use hybrid_cache_image::docker::Engine;
use crate::exit::{Exit, Expected};
use crate::{flags, node_image, test};

/// The tests' own cluster: that of a person is left alone.
const NAME: &str = "hybrid-cache-test";

/// A cluster that tests may use.
pub struct TestCluster {
    /// Tells the tests which.
    pub variables: Vec<(&'static str, String)>,
    keep: bool,
    /// ImageLocation until the tests have ended: two runs do not share a cluster that one of them deletes.
    _in_use: File,
}

impl TestCluster {
    /// Brings the cluster up, or says why there is none. Says beforehand what it makes.
    ///
    /// # Errors
    /// There is no Docker, no kind or no node image at hand, another run uses the cluster, or it does not come up.
    pub fn up(checkout: &Checkout, keep: bool) -> Result<TestCluster> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        let state = StateFolder::for_cluster(NAME)?;
        runtime.block_on(at_hand(checkout))?;
        let in_use = in_use(&state)?;
        let then = match keep {
            true => "It stays (--keep-cluster); `cargo xtask down --name hybrid-cache-test --volumes` deletes it",
            false => "Afterwards it and its caches are deleted",
        };
        eprintln!(
            "tests on a cluster: making kind cluster {NAME} in Docker for them. {then}. --no-cluster leaves them out"
        );
        let cluster = TestCluster {
            variables: Vec::new(),
            keep,
            _in_use: in_use,
        };
        match variables(checkout, &runtime, &state) {
            Ok(variables) => Ok(TestCluster { variables, ..cluster }),
            Err(error) => {
                // What came up halfway is not left behind either; the first error is the one that counts.
                if let Err(left) = cluster.take_down() {
                    eprintln!("{left:#}");
                }
                Err(error)
            }
        }
    }

    /// Deletes it with its caches, unless it is to be kept.
    ///
    /// # Errors
    /// It cannot be deleted, or Ctrl-C interrupted that; the message says that it is left.
    pub fn take_down(self) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        let flags = flags::Down {
            cluster: which(),
            volumes: true,
            service_data: true,
        };
        let left = || format!("{NAME} may be left: `cargo xtask down --name {NAME} --volumes` deletes it");
        whole(down::run(&flags).with_context(left)?, left)
    }
}

/// The lock of one run of the tests.
fn in_use(state: &StateFolder) -> Result<File> {
    state.make()?;
    let file = state.test_lock_file()?;
    let locked = file.try_lock();
    locked.map_err(|_| failed!("another `cargo xtask test` uses cluster {NAME}"))?;
    Ok(file)
}

fn variables(
    checkout: &Checkout,
    runtime: &tokio::runtime::Runtime,
    state: &StateFolder,
) -> Result<Vec<(&'static str, String)>> {
    let stopped = || "making the cluster of the tests was interrupted".to_owned();
    whole(up::run(&wanted(false))?, stopped)?;
    let config = runtime.block_on(connection::config(checkout))?;
    let mut variables = vec![
        ("HYBRID_CACHE_KUBE_CONTEXT", format!("kind-{NAME}")),
        ("HYBRID_CACHE_KUBE_CONFIG", kept(checkout, "kube-config.json", &config)?),
        ("KUBECONFIG", state.kubeconfig().display().to_string()),
    ];
    // A node image of another making has no Argo, and is as good for all other tests.
    match up::run(&wanted(true)) {
        Ok(exit) => {
            whole(exit, stopped)?;
            let file = kept(checkout, "argo-config.json", &connection::with_argo(config))?;
            variables.push(("HYBRID_CACHE_ARGO_CONFIG", file));
        }
        Err(error) => eprintln!("skipped: tests of Workflows: {error:#}"),
    }
    Ok(variables)
}

/// Ctrl-C ends a step early, and what follows it does not go on.
fn whole(exit: Exit, interrupted: impl FnOnce() -> String) -> Result<()> {
    match exit {
        Exit::Interrupted => Err(Error::interrupted(interrupted())),
        _ => Ok(()),
    }
}

fn wanted(with_argo: bool) -> flags::Up {
    flags::Up {
        closed_range: Vec::new(),
        python_size: None,
        system_size: None,
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
        namespace: crate::names::NAMESPACE.to_owned(),
    }
}

/// Checks that making a cluster needs nothing that is not at hand.
async fn at_hand(checkout: &Checkout) -> Result<()> {
    let (engine, _) = tokio::try_join!(Engine::connect(), Kind::find(checkout))?;
    let image = node_image::image_tag(checkout)?;
    let found = engine.image(&image).await?;
    found.with_context(|| format!("no node image {image} at hand\nhint: `cargo xtask node-image` builds it"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn an_interrupted_step_is_told_from_one_that_was_done() {
        whole(Exit::Good, || "made".to_owned()).unwrap();
        let told = whole(Exit::Interrupted, || "made halfway".to_owned()).unwrap_err();
        assert_eq!(
            (exit::of(&told), told.to_string()),
            (Exit::Interrupted, "made halfway".to_owned())
        );
    }
}
