//! Console scripts of popular packages, run in pods from staging and from the cache.

use futures_util::{StreamExt, stream};
use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_model::TaskSpec;

use super::bench::{self, options, run, spec};

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
    let runs = table::SCRIPTS.iter().map(|(package, call, part)| {
        let (driver, spec) = (&driver, spec(&table::program(call), package, ""));
        async move {
            fault(driver, &spec, part)
                .await
                .map(|told| format!("{package}: {told}"))
        }
    });
    let faults: Vec<Option<String>> = stream::iter(runs).buffer_unordered(TASKS).collect().await;
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is wrong with the first of the two runs of a script that goes wrong.
async fn fault(driver: &KubeDriver, spec: &TaskSpec, part: &str) -> Option<String> {
    for run_of in ["first", "cached"] {
        let ran = run(driver, spec, &options()).await;
        let one_line = ran.stdout.trim().lines().count() == 1;
        if !one_line || !ran.stdout.contains(part) || ran.stdout.contains("stranger") {
            return Some(format!("{run_of}: {:?} {}", ran.outcome.end, ran.stdout));
        }
    }
    None
}
