//! Tasks that end otherwise: cancelled, out of memory, out of time, their pod taken away.

use std::time::{Duration, Instant};

use hybrid_cache_driver::Driver;
use hybrid_cache_model::{End, FailureKind, TaskSpec};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};

use super::bench::{self, Bench, Ran, options, run, spec, wait, within};

/// The task's pod, once a line of its output has come.
pub async fn running_pod(bench: &Bench, driver: &impl Driver, ticket: &hybrid_cache_driver::Ticket) -> String {
    let mut log = driver.logs(ticket).unwrap();
    within(log.next()).await.expect("output");
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.config.namespace);
    let params = ListParams::default().labels(&format!("hybrid-cache.dev/task={}", ticket.id));
    pods.list(&params).await.unwrap().items[0]
        .metadata
        .name
        .clone()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ignores_sigterm_is_cancelled_within_seconds() {
    let Some(bench) = bench::cluster("a_task_that_ignores_sigterm").await else {
        return;
    };
    let driver = bench.driver().await;
    let code =
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(100)";
    let ticket = driver.submit(&TaskSpec::new(code), &options()).await.unwrap();
    running_pod(&bench, &driver, &ticket).await;
    let asked = Instant::now();
    driver.cancel(&ticket).await.unwrap();
    let ran = wait(&driver, &ticket).await;
    assert_eq!(ran.outcome.end, End::Cancelled);
    assert_eq!(ran.stdout, "up\n");
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    let jobs: Api<Job> = Api::namespaced(bench.client.clone(), &bench.config.namespace);
    assert!(jobs.get_opt(&ticket.id).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_cleans_up_and_its_last_output_is_kept() {
    let Some(bench) = bench::cluster("a_cancelled_task_cleans_up").await else {
        return;
    };
    let driver = bench.driver().await;
    let code = "import time\ntry: print('up'); time.sleep(100)\nfinally: print('cleaned up')";
    let ticket = driver.submit(&TaskSpec::new(code), &options()).await.unwrap();
    running_pod(&bench, &driver, &ticket).await;
    driver.cancel(&ticket).await.unwrap();
    let ran = wait(&driver, &ticket).await;
    assert_eq!(ran.outcome.end, End::Cancelled);
    assert_eq!(ran.stdout, "up\ncleaned up\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_being_prepared_is_cancelled_at_once() {
    let Some(bench) = bench::cluster("a_task_that_is_being_prepared").await else {
        return;
    };
    let driver = bench.driver().await;
    // It has many files, so preparing it takes longer than this test.
    let mut task = spec("print(1)", "plotly==5.24.1", "");
    task.use_cache = false;
    let ticket = driver.submit(&task, &options()).await.unwrap();
    let mut preparing = driver.preparing(&ticket).unwrap();
    within(preparing.wait_for(Option::is_some)).await.unwrap();
    let asked = Instant::now();
    driver.cancel(&ticket).await.unwrap();
    assert_eq!(wait(&driver, &ticket).await.outcome.end, End::Cancelled);
    // Without a reaction of both containers the pod's grace passes first.
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_a_node_is_cancelled_at_once() {
    let Some(bench) = bench::cluster("a_task_without_a_place").await else {
        return;
    };
    let bench = bench.with(|config| {
        // All that the namespace's LimitRange lets one container have: more than the node has.
        config.task_resources.cpu_request = "16".to_owned();
        config.task_resources.cpu_limit = "16".to_owned();
    });
    let driver = bench.driver().await;
    let ticket = driver.submit(&TaskSpec::new("print(1)"), &options()).await.unwrap();
    driver.cancel(&ticket).await.unwrap();
    let asked = Instant::now();
    assert_eq!(wait(&driver, &ticket).await.outcome.end, End::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_is_reported_as_such() {
    let Some(bench) = bench::cluster("too_much_memory").await else {
        return;
    };
    let bench = bench.with(|config| {
        config.task_resources.memory_request = "64Mi".to_owned();
        config.task_resources.memory_limit = "64Mi".to_owned();
    });
    let driver = bench.driver().await;
    let ran = run(
        &driver,
        &TaskSpec::new("x = bytearray(500_000_000); print(len(x))"),
        &options(),
    )
    .await;
    out_of_memory(&ran);
}

/// Checks that memory ran out.
pub fn out_of_memory(ran: &Ran) {
    match &ran.outcome.end {
        // Where the kernel ends the whole control group, the runner goes with it.
        End::Failed { failure } => assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure}"),
        // If the kernel ends one process, the runner reports it.
        End::Signaled { signal: 9 } => {
            assert!(
                ran.outcome.warnings.iter().any(|warning| warning.contains("memory")),
                "{:?}",
                ran.outcome
            );
        }
        end => panic!("{end:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_limit_is_the_runners_and_its_output_stays() {
    let Some(bench) = bench::cluster("the_time_limit").await else {
        return;
    };
    let driver = bench.driver().await;
    let mut options = options();
    options.limits.time_ms = 1500;
    let ran = run(
        &driver,
        &TaskSpec::new("import time\nprint('up', flush=True)\ntime.sleep(60)"),
        &options,
    )
    .await;
    assert_eq!(ran.outcome.end, End::TimedOut { limit_ms: 1500 });
    assert_eq!(ran.stdout, "up\n");
    let code = "import time\ntry: print('up'); time.sleep(60)\nfinally: time.sleep(0.5); print('cleaned up')";
    let ran = run(&driver, &TaskSpec::new(code), &options).await;
    assert_eq!(ran.outcome.end, End::TimedOut { limit_ms: 1500 });
    assert_eq!(ran.stdout, "up\ncleaned up\n", "`finally:` runs, in the time of grace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_is_reported_as_deleted() {
    let Some(bench) = bench::cluster("a_pod_that_somebody_deletes").await else {
        return;
    };
    let driver = bench.driver().await;
    let code = "import time\nprint('up', flush=True)\ntime.sleep(100)";
    let ticket = driver.submit(&TaskSpec::new(code), &options()).await.unwrap();
    let pod = running_pod(&bench, &driver, &ticket).await;
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.config.namespace);
    pods.delete(&pod, &DeleteParams::default()).await.unwrap();
    wait(&driver, &ticket)
        .await
        .failed(FailureKind::Evicted, &["someone deleted the task's pod"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_does_not_exist_fails_the_task_with_the_index_s_message() {
    let Some(bench) = bench::cluster("a_package_that_does_not_exist").await else {
        return;
    };
    let driver = bench.driver().await;
    let task = spec("print(1)", "hybrid-cache-no-such-package-7f3a", "");
    run(&driver, &task, &options())
        .await
        .failed(FailureKind::UnknownPackage, &["hybrid-cache-no-such-package-7f3a"]);
}
