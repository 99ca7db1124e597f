//! The list of attacks on this machine's driver, and on the cluster that a variable names: every promise must hold.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod machine;

use std::sync::Arc;

use hybrid_cache_driver::Driver;
use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_trials::{AttackContext, LocalSite, Standing, list, promise, run};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

/// Names the context of the kubeconfig.
const CONTEXT_VARIABLE: &str = "HYBRID_CACHE_KUBE_CONTEXT";
/// Names the file with the driver's configuration on the cluster.
const KUBE_CONFIG_VARIABLE: &str = "HYBRID_CACHE_KUBE_CONFIG";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_holds_on_the_local_driver() {
    let Some(machine) = machine::open("every_promise_holds_on_the_local_driver") else {
        return;
    };
    holds(AttackContext::local(LocalSite::open(machine.config.clone()).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_holds_in_a_pod() {
    let Some(driver) = cluster("every_promise_holds_in_a_pod").await else {
        return;
    };
    holds(AttackContext::pod(driver)).await;
}

/// Tries the whole list and names everything that did not hold or could not be tried.
async fn holds(mut ground: AttackContext) {
    let trials = run(&list::all(), &ground, |trial| {
        println!(
            "{} {} {} ms {}",
            trial.standing(),
            trial.id,
            trial.took_ms,
            trial.detail().unwrap_or_default()
        );
    })
    .await;
    let closed = ground.close().await;
    let mut problems = Vec::new();
    for row in promise::table(&trials) {
        let bad = row
            .trials
            .iter()
            .filter(|trial| trial.standing() >= Standing::CouldNotTry);
        problems.extend(bad.map(|trial| {
            let what = trial.detail().unwrap_or_default();
            format!(
                "{}: {} ({}): {}\n  {what}",
                row.protection,
                row.promise,
                trial.id,
                trial.standing()
            )
        }));
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    closed.unwrap();
}

/// A driver on the cluster; `None`, and a word about it, if none is named.
async fn cluster(test: &str) -> Option<Arc<dyn Driver>> {
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
