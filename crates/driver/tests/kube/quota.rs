//! A namespace of its own whose quota takes no pod.

use std::time::{Duration, Instant};

use hybrid_cache_model::{FailureKind, TaskSpec};
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use super::bench::{self, options, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_a_quota_is_reported_in_the_clusters_words() {
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
