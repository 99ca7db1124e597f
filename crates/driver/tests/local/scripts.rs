//! Console scripts of popular packages, run from staging and from the cache.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use hybrid_cache_driver::Driver;
use hybrid_cache_driver::log::Stream;
use hybrid_cache_model::{CacheStatus, End, FailureKind, Outcome, TaskSpec};

use crate::bench::{Bench, machine, python};

#[path = "../shared/scripts.rs"]
mod table;

/// Tasks at a time.
const TASKS: usize = 2;
/// No run takes longer, first downloads included.
const PATIENCE: Duration = Duration::from_secs(250);

#[tokio::test]
async fn console_scripts_of_popular_packages_run_first_and_cached() {
    let test = "console_scripts_of_popular_packages_run_first_and_cached";
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(config);
    let probe = bench.run(&python("cowsay", "print(1)")).await;
    if let End::Failed { failure } = &probe.outcome.end
        && failure.kind == FailureKind::Offline
    {
        println!("skipped: {test}: no index of packages is within reach");
        return;
    }
    let runs = table::SCRIPTS.iter().map(|(package, call, part)| {
        let (bench, spec) = (&bench, python(package, &table::program(call)));
        async move {
            fault(bench, &spec, part)
                .await
                .map(|reported| format!("{package}: {reported}"))
        }
    });
    let faults: Vec<Option<String>> = stream::iter(runs).buffer_unordered(TASKS).collect().await;
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is wrong with the two runs of a script.
async fn fault(bench: &Bench, spec: &TaskSpec, part: &str) -> Option<String> {
    for run_of in ["first", "cached"] {
        let ran = tokio::time::timeout(PATIENCE, run(bench, spec)).await;
        let Ok((outcome, stdout)) = ran else {
            return Some(format!("{run_of}: it does not end within {PATIENCE:?}"));
        };
        let one_line = stdout.trim().lines().count() == 1;
        let hit = run_of == "first" || outcome.cache.python == CacheStatus::Hit;
        if !one_line || !hit || !stdout.contains(part) || stdout.contains("stranger") {
            return Some(format!(
                "{run_of}: {:?} {:?} {stdout}",
                outcome.end, outcome.cache.python
            ));
        }
    }
    None
}

async fn run(bench: &Bench, spec: &TaskSpec) -> (Outcome, String) {
    let ticket = bench.submit(spec).await;
    let outcome = bench.driver.settle(&ticket).await.unwrap();
    let stdout = bench.driver.logs(&ticket).unwrap().collect(Stream::Stdout);
    (outcome, String::from_utf8_lossy(&stdout).into_owned())
}
