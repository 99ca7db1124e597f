//! What a cached task costs beside a pod that does nothing: the latency this driver is made for.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use hybrid_cache_driver::Driver;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use super::bench::{self, Bench, options, run, spec, within};

const RUNS: usize = 15;

/// Creates a pod of `true` with both volumes and watches until its container is seen to have ended.
async fn bare_pod(bench: &Bench, number: usize) -> Duration {
    let name = format!("bare-{}-{number}", std::process::id());
    let config = &bench.config;
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": config.identity.uid, "fsGroup": config.identity.gid,
                "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "task", "image": config.image, "imagePullPolicy": "IfNotPresent", "command": ["true"],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [
                    {"name": "python", "mountPath": "/cache/python", "readOnly": true},
                    {"name": "system", "mountPath": "/nix", "subPath": ".nix-portable/nix", "readOnly": true},
                    {"name": "scratch", "mountPath": "/scratch"},
                ],
            }],
            "volumes": [
                {"name": "python", "persistentVolumeClaim": {"claimName": config.python_claim}},
                {"name": "system", "persistentVolumeClaim": {"claimName": config.nix_claim}},
                {"name": "scratch", "emptyDir": {}},
            ],
        },
    });
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &config.namespace);
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = pods.watch(&params, "0").await.unwrap().boxed();
    let began = Instant::now();
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    let took = loop {
        let event = events.next().await.expect("an event").unwrap();
        let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else {
            continue;
        };
        let statuses = pod
            .status
            .and_then(|status| status.container_statuses)
            .unwrap_or_default();
        let ended = statuses
            .iter()
            .any(|status| status.state.as_ref().is_some_and(|state| state.terminated.is_some()));
        if ended {
            break began.elapsed();
        }
    };
    pods.delete(&name, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_task_costs_little_more_than_a_pod_that_does_nothing() {
    let Some(bench) = bench::cluster("a_cached_task_costs_little_more").await else {
        return;
    };
    let driver = bench.driver().await;
    within(driver.initialise()).await.unwrap();
    let task = spec("import numpy; print(numpy.arange(3).sum())", "numpy", "make");
    let ticket = driver.submit(&task, &options()).await.unwrap();
    let first = within(driver.settle(&ticket)).await.unwrap();
    assert!(first.end.is_success(), "{first:?}");
    let (mut bare, mut cached, mut inside) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..RUNS {
        bare.push(within(bare_pod(&bench, number)).await);
        let began = Instant::now();
        let ran = run(&driver, &task, &options()).await;
        cached.push(began.elapsed());
        ran.printed("3\n");
        assert!(ran.outcome.cache.all_hit(), "{:?}", ran.outcome);
        inside.push(Duration::from_micros(ran.outcome.runner_us));
        if number + 1 == RUNS {
            println!("the last one's time: {:?}", ran.outcome.timeline.critical_path());
        }
    }
    let (bare, cached, inside) = (median(bare), median(cached), median(inside));
    println!("median of {RUNS}: bare pod {bare:?}, cached numpy and make {cached:?}, inside the pod {inside:?}");
    // The measured aim is 1.1; a busy machine is given more.
    assert!(cached < bare * 3 / 2, "{cached:?} against {bare:?}");
}
