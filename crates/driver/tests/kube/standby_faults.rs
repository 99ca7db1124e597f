//! Standby pods when something fails: killed and stopped runners, deleted pods, a driver that ends before it has sent the task.

use std::time::{Duration, Instant};

use hybrid_cache_driver::{Driver, SubmitOptions};
use hybrid_cache_model::{FailureKind, TaskSpec};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use nix::sys::signal::Signal;
use serde_json::json;

use super::bench::{self, Bench, run, wait, within};
use super::standby::{Pool, pod_of, pods, was_standby};

/// The runners of a pod on this machine, if its node is a container of this machine.
fn runners_of(pod: &Pod) -> Vec<i32> {
    let group = format!("pod{}", pod.metadata.uid.as_ref().unwrap().replace('-', "_"));
    let processes = std::fs::read_dir("/proc").unwrap();
    let of_pod = processes.filter_map(|entry| {
        let folder = entry.ok()?.path();
        let number = folder.file_name()?.to_str()?.parse().ok()?;
        let is_ours = std::fs::read_to_string(folder.join("cgroup")).ok()?.contains(&group);
        let command = std::fs::read(folder.join("cmdline")).ok()?;
        (is_ours && String::from_utf8_lossy(&command).contains("pod-standby")).then_some(number)
    });
    of_pod.collect()
}

fn kill(process: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), signal).unwrap();
}

/// The pods that wait in a tenant's pool.
async fn idle_pods(bench: &Bench, tenant: &str) -> Vec<Pod> {
    let sets: Api<ReplicaSet> = Api::namespaced(bench.client.clone(), &bench.config.namespace);
    let component = ListParams::default().labels("app.kubernetes.io/component=standby");
    let sets = sets.list(&component).await.unwrap();
    let set = sets.items.iter().find(|set| {
        let annotations = set.metadata.annotations.as_ref();
        annotations.is_some_and(|all| all.get("hybrid-cache.dev/tenant").is_some_and(|of| of == tenant))
    });
    let label = format!(
        "hybrid-cache.dev/standby={}",
        set.unwrap().metadata.name.as_ref().unwrap()
    );
    pods(bench)
        .list(&ListParams::default().labels(&label))
        .await
        .unwrap()
        .items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_runner_was_killed_is_replaced_and_runs_no_task() {
    let Some(bench) = bench::cluster("a_pod_whose_runner_was_killed").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-killed", 1).await;
    let before = idle_pods(&bench, "standby-killed").await.remove(0);
    let runners = runners_of(&before);
    if runners.is_empty() {
        println!("skipped: a_pod_whose_runner_was_killed: the node's processes are not visible here");
        return pool.end().await;
    }
    runners.into_iter().for_each(|runner| kill(runner, Signal::SIGKILL));
    let name = before.metadata.name.unwrap();
    // The pod looks ready until the kubelet has noticed, so a task may well claim it.
    let ran = pool
        .run(&TaskSpec::new("import socket; print(socket.gethostname())"))
        .await;
    assert!(ran.outcome.end.is_success(), "{:?}", ran.outcome);
    assert_ne!(ran.stdout.trim(), name);
    let replaced = async {
        while pods(&bench).get_opt(&name).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within(replaced).await;
    pool.fill().await;
    let ran = pool.run(&TaskSpec::new("print('next')")).await;
    ran.printed("next\n");
    assert!(was_standby(&ran), "{:?}", ran.outcome.timeline);
    pool.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_does_not_answer_costs_time_and_runs_nothing() {
    let Some(bench) = bench::cluster("a_runner_that_does_not_answer").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-stopped", 1).await;
    let runners = runners_of(&idle_pods(&bench, "standby-stopped").await[0]);
    if runners.is_empty() {
        println!("skipped: a_runner_that_does_not_answer: the node's processes are not visible here");
        return pool.end().await;
    }
    runners.into_iter().for_each(|runner| kill(runner, Signal::SIGSTOP));
    let ran = pool.run(&TaskSpec::new("print('once')")).await;
    ran.printed("once\n");
    assert!(!was_standby(&ran));
    let status = pool.driver.standby().unwrap();
    assert_eq!(status.counts.not_begun, 1);
    assert!(status.trouble.unwrap().contains("did not accept the order"));
    pool.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_dies_in_the_middle_ends_its_task_once() {
    let Some(bench) = bench::cluster("a_runner_that_dies_in_the_middle").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-dies", 1).await;
    let code = "import time\nprint('begun', flush=True)\ntime.sleep(100)";
    let ticket = pool.driver.submit(&TaskSpec::new(code), &pool.options).await.unwrap();
    within(pool.driver.logs(&ticket).unwrap().next()).await.expect("output");
    let pod = pods(&bench).get(&pod_of(&bench, &ticket).await).await.unwrap();
    let runners = runners_of(&pod);
    if runners.is_empty() {
        println!("skipped: a_runner_that_dies_in_the_middle: the node's processes are not visible here");
        pool.driver.cancel(&ticket).await.unwrap();
        return pool.end().await;
    }
    runners.into_iter().for_each(|runner| kill(runner, Signal::SIGKILL));
    let asked = Instant::now();
    let ran = wait(&pool.driver, &ticket).await;
    ran.failed(FailureKind::Internal, &["ended without a report (exit code 137"]);
    assert_eq!(ran.stdout, "begun\n");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    pool.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_pod_that_was_never_sent_its_task_does_not_run_it_and_a_job_does() {
    let Some(bench) = bench::cluster("a_claimed_pod_without_its_task").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-unsent", 1).await;
    let idle = idle_pods(&bench, "standby-unsent")
        .await
        .remove(0)
        .metadata
        .name
        .unwrap();
    // As a driver leaves it that ends between claim and order.
    let id = format!("unsent-{}", std::process::id());
    let claim = json!({"metadata": {
        "labels": {"hybrid-cache.dev/standby": null, "app.kubernetes.io/component": "task", "hybrid-cache.dev/task": id},
        "annotations": {"hybrid-cache.dev/claimed-until": "9999999999", "hybrid-cache.dev/trailer": "0123456789abcdef",
            "hybrid-cache.dev/form": "warm"},
        "ownerReferences": null,
    }});
    pods(&bench)
        .patch(&idle, &PatchParams::default(), &Patch::Merge(claim))
        .await
        .unwrap();
    let options = SubmitOptions {
        id: Some(id.clone()),
        ..pool.options.clone()
    };
    let other = bench.driver().await;
    let ran = run(&other, &TaskSpec::new("print('once')"), &options).await;
    ran.printed("once\n");
    assert!(!was_standby(&ran));
    assert!(pods(&bench).get_opt(&idle).await.unwrap().is_none());
    pool.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_deleted_while_it_runs_ends_its_task_once() {
    let Some(bench) = bench::cluster("a_standby_pod_that_is_deleted").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-deleted", 1).await;
    let code = "import time\nprint('begun', flush=True)\ntime.sleep(100)";
    let ticket = pool.driver.submit(&TaskSpec::new(code), &pool.options).await.unwrap();
    within(pool.driver.logs(&ticket).unwrap().next()).await.expect("output");
    let pod = pod_of(&bench, &ticket).await;
    pods(&bench).delete(&pod, &DeleteParams::default()).await.unwrap();
    let asked = Instant::now();
    let ran = wait(&pool.driver, &ticket).await;
    ran.failed(FailureKind::Evicted, &["deleted the task's pod", "run the task again"]);
    assert_eq!(ran.stdout, "begun\n");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    pool.end().await;
}
