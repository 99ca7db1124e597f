//! Tasks that the cluster does not take: no image, no claim, no room, a quota, no cluster at all.

use std::time::{Duration, Instant};

use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::{Driver, DriverError};
use hybrid_cache_model::{FailureKind, TaskSpec};
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use super::bench::{self, options, run, spec};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nobody_has_is_told_with_the_next_step() {
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
async fn a_missing_claim_is_told_at_once() {
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
async fn no_node_is_waited_for_and_then_told() {
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
async fn a_quota_says_no_in_its_own_words() {
    let Some(bench) = bench::cluster("a_quota").await else {
        return;
    };
    let name = format!("hybrid-cache-quota-{}", std::process::id());
    let namespaces: Api<Namespace> = Api::all(bench.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(bench.client.clone(), &name);
    let account = json!({"metadata": {"name": bench.config.service_account}});
    accounts
        .create(&PostParams::default(), &serde_json::from_value(account).unwrap())
        .await
        .unwrap();
    let quotas: Api<ResourceQuota> = Api::namespaced(bench.client.clone(), &name);
    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}});
    quotas
        .create(&PostParams::default(), &serde_json::from_value(quota).unwrap())
        .await
        .unwrap();
    let quota_holds = async {
        // The quota is in force once its controller has counted.
        while quotas
            .get("small")
            .await
            .unwrap()
            .status
            .and_then(|status| status.hard)
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    bench::within(quota_holds).await;
    let own = bench.with(|config| {
        config.namespace = name.clone();
        config.certificates = None;
    });
    let driver = own.driver().await;
    let asked = Instant::now();
    let ran = run(&driver, &TaskSpec::new("print(1)"), &options()).await;
    namespaces.delete(&name, &DeleteParams::background()).await.unwrap();
    ran.failed(FailureKind::Refused, &["exceeded quota: small", "ResourceQuota"]);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_and_a_namespace_that_is_not_there_are_told_on_opening() {
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
