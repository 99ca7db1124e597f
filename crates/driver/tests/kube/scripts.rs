//! Console scripts of popular packages, run in pods from staging and from the cache.

use futures_util::{StreamExt, stream};
use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::{CacheStatus, TaskSpec};

use super::bench::{self, on, spec, within};

#[path = "../shared/scripts.rs"]
mod table;

/// Tasks at a time.
const TASKS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn console_scripts_of_popular_packages_run_in_pods_first_and_cached() {
    let Some(bench) = bench::cluster("console_scripts_of_popular_packages").await else {
        return;
    };
    let driver = bench.driver().await;
    let epoch = within(driver.fresh_epoch()).await.unwrap();
    let runs = table::SCRIPTS.iter().map(|(package, call, part)| {
        let (driver, epoch, spec) = (&driver, &epoch, spec(&table::program(call), package, ""));
        async move {
            fault(driver, epoch, &spec, part)
                .await
                .map(|reported| format!("{package}: {reported}"))
        }
    });
    let faults: Vec<Option<String>> = stream::iter(runs).buffer_unordered(TASKS).collect().await;
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    within(driver.discard_epoch(&epoch)).await.unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is wrong with the first of the two runs of a script that goes wrong.
async fn fault(driver: &KubeDriver, epoch: &Epoch, spec: &TaskSpec, part: &str) -> Option<String> {
    for run_of in ["first", "cached"] {
        let ticket = driver.submit(spec, &on(epoch)).await.unwrap();
        let ran = bench::wait(driver, &ticket).await;
        within(driver.settle(&ticket)).await.unwrap();
        let one_line = ran.stdout.trim().lines().count() == 1;
        let found = ran.outcome.cache.python == CacheStatus::Hit;
        if !one_line || !ran.stdout.contains(part) || ran.stdout.contains("stranger") || found != (run_of == "cached") {
            let cache = ran.outcome.cache;
            return Some(format!("{run_of}: {:?} {cache:?} {}", ran.outcome.end, ran.stdout));
        }
    }
    None
}
