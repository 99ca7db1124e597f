//! Tasks that the cluster does not take: no image, no claim, no room, no cluster at all.

use std::time::{Duration, Instant};

use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::{Driver, DriverError};
use hybrid_cache_model::{FailureKind, TaskSpec};

use super::bench::{self, options, run, spec};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_exist_is_reported_with_the_next_step() {
    let Some(bench) = bench::cluster("an_image_that_nobody_has").await else {
        return;
    };
    for image in ["localhost:1/nobody/has:this", "not a name"] {
        let bench = bench.with(|config| config.image = image.to_owned());
        let driver = bench.driver().await;
        let ran = run(&driver, &TaskSpec::new("print(1)"), &options()).await;
        ran.failed(FailureKind::ImagePull, &["cargo xtask"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_version_that_the_image_lacks_is_refused_with_those_that_it_has() {
    let Some(bench) = bench::cluster("a_python_version").await else {
        return;
    };
    let driver = bench.driver().await;
    let asking = |version: &str| TaskSpec {
        python_version: version.to_owned(),
        ..TaskSpec::new("import sys; print(sys.version_info[:2])")
    };
    run(&driver, &asking("3.11"), &options()).await.printed("(3, 11)\n");
    let ran = run(&driver, &asking("3.9"), &options()).await;
    ran.failed(FailureKind::InvalidTask, &["only Python 3.11"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_claim_is_reported_at_once() {
    let Some(bench) = bench::cluster("a_missing_claim").await else {
        return;
    };
    let bench = bench.with(|config| config.python_claim = "no-such-claim".to_owned());
    let driver = bench.driver().await;
    let asked = Instant::now();
    let ran = run(&driver, &spec("print(1)", "six", ""), &options()).await;
    ran.failed(FailureKind::Unschedulable, &["no-such-claim", "cargo xtask up"]);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_node_is_waited_for_and_then_reported() {
    let Some(bench) = bench::cluster("no_node").await else {
        return;
    };
    let bench = bench.with(|config| {
        // All that the namespace's LimitRange lets one container have.
        let resources = &mut config.task_resources;
        for cpu in [&mut resources.cpu_request, &mut resources.cpu_limit] {
            "16".clone_into(cpu);
        }
        for memory in [&mut resources.memory_request, &mut resources.memory_limit] {
            "64Gi".clone_into(memory);
        }
        config.start_s = 4;
    });
    let driver = bench.driver().await;
    let asked = Instant::now();
    let ran = run(&driver, &TaskSpec::new("print(1)"), &options()).await;
    ran.failed(FailureKind::Unschedulable, &["Insufficient"]);
    assert!(asked.elapsed() >= Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_class_that_does_not_exist_is_refused_at_once_with_the_setting() {
    let Some(bench) = bench::cluster("a_runtime_class_that_does_not_exist").await else {
        return;
    };
    let bench = bench.with(|config| config.placement.runtime_class_name = Some("no-such-class".to_owned()));
    let driver = bench.driver().await;
    let asked = Instant::now();
    let ran = run(&driver, &TaskSpec::new("print(1)"), &options()).await;
    ran.failed(FailureKind::Refused, &["no-such-class", "pods.runtimeClassName"]);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_that_fits_no_node_is_waited_for_and_then_reported_with_the_setting() {
    let Some(bench) = bench::cluster("a_selector_that_fits_no_node").await else {
        return;
    };
    let bench = bench.with(|config| {
        let selector = &mut config.placement.node_selector;
        selector.insert("hybrid-cache.dev/no-such-label".to_owned(), "none".to_owned());
        config.start_s = 4;
    });
    let driver = bench.driver().await;
    let asked = Instant::now();
    let ran = run(&driver, &TaskSpec::new("print(1)"), &options()).await;
    ran.failed(
        FailureKind::Unschedulable,
        &["didn't match Pod's node affinity/selector", "pods.nodeSelector"],
    );
    assert!(asked.elapsed() >= Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_reports_a_cluster_that_does_not_answer_and_a_missing_namespace() {
    let Some(bench) = bench::cluster("a_cluster_that_does_not_answer").await else {
        return;
    };
    let mut nowhere = kube::Config::new("https://127.0.0.1:1".parse().unwrap());
    nowhere.accept_invalid_certs = true;
    let client = kube::Client::try_from(nowhere).unwrap();
    let opened = KubeDriver::open(client, bench.config.clone()).await.err();
    let Some(DriverError::Failed(failure)) = opened else {
        panic!("{opened:?}")
    };
    assert_eq!(failure.kind, FailureKind::Cluster, "{failure}");
    let elsewhere = bench.with(|config| config.namespace = "no-such-namespace".to_owned());
    let driver = elsewhere.driver().await;
    let error = driver
        .submit(&TaskSpec::new("print(1)"), &options())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no-such-namespace") && error.contains("hint: "),
        "{error}"
    );
}
