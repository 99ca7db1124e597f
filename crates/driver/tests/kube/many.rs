//! Many tasks at once: none is lost, none gets another one's output.

use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_model::TaskSpec;

use super::bench;

/// How many; a small cluster runs a few of them at a time, and the rest waits for room.
const TASKS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_submitted_at_once_all_end_with_their_own_output() {
    let Some(bench) = bench::cluster("tasks_that_are_submitted_at_once").await else {
        return;
    };
    let count = std::env::var("HYBRID_CACHE_KUBE_TASKS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(TASKS);
    let bench = bench.with(|config| config.start_s = 1200);
    let driver = Arc::new(bench.driver().await);
    let tasks = (0..count).map(|number| {
        let driver = Arc::clone(&driver);
        tokio::spawn(async move {
            let spec = TaskSpec::new(format!("print({number})"));
            let ticket = driver.submit(&spec, &bench::options()).await.unwrap();
            let outcome = tokio::time::timeout(Duration::from_secs(1200), driver.wait(&ticket))
                .await
                .unwrap()
                .unwrap();
            let stdout = driver
                .logs(&ticket)
                .unwrap()
                .collect(hybrid_cache_driver::log::Stream::Stdout);
            assert!(outcome.end.is_success(), "{number}: {outcome:?}");
            assert_eq!(String::from_utf8_lossy(&stdout), format!("{number}\n"), "{outcome:?}");
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        task.await.unwrap();
    }
}
