//! Which pods a package without a wheel leads to, on a double of a cluster.

use std::time::Duration;

use hybrid_cache_model::{End, FailureKind, Outcome, TaskSpec};
use serde_json::{Value, json};

use crate::kube::config::KubeConfig;
use crate::kube::config::tests::config;
use crate::kube::driver::KubeDriver;
use crate::kube::tests::double::Double;
use crate::{Driver, SubmitOptions};

/// No package has a wheel; a pod that builds builds it, unless the task is called `broken`.
fn report(name: &str) -> Value {
    let nothing = json!({"written_bytes": 0, "passed_bytes": 0});
    let mut report = json!({
        "report": "finished", "timeline": {"total_us": 1, "spans": []}, "stdout": nothing, "stderr": nothing,
        "cache": {"python": {"status": "not_asked"}, "system": {"status": "not_asked"}}, "resolved": {},
    });
    let builds = name.contains("-b-") || name.ends_with("-b");
    if builds && !name.starts_with("broken") {
        report["end"] = "exited".into();
        report["code"] = 0.into();
    } else {
        report["end"] = "failed".into();
        report["failure"] = json!({"kind": "no_wheel", "message": name});
    }
    report
}

async fn run(config: KubeConfig, id: &str) -> (Outcome, Vec<String>) {
    let cluster = Double::new(Duration::from_millis(20), report);
    let driver = KubeDriver::open(cluster.client(), config).await.unwrap();
    let spec = TaskSpec {
        dependencies: "docopt".to_owned(),
        ..TaskSpec::new("print(1)")
    };
    let options = SubmitOptions {
        id: Some(id.to_owned()),
        ..SubmitOptions::default()
    };
    let ticket = driver.submit(&spec, &options).await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(60), driver.settle(&ticket)).await;
    (outcome.unwrap().unwrap(), cluster.made())
}

#[track_caller]
fn has_no_wheel(outcome: &Outcome) {
    let End::Failed { failure } = &outcome.end else {
        panic!("{outcome:?}")
    };
    assert_eq!(failure.kind, FailureKind::NoWheel);
}

#[tokio::test]
async fn a_package_without_a_wheel_leads_to_one_pod_that_builds() {
    let (outcome, made) = run(config(), "good").await;
    assert!(outcome.end.is_success(), "{outcome:?}");
    assert_eq!(made, ["good", "good-b"]);
    let (outcome, made) = run(config(), "broken").await;
    has_no_wheel(&outcome);
    assert_eq!(made, ["broken", "broken-b"]);
}

#[tokio::test]
async fn without_builds_the_lack_of_a_wheel_is_the_end() {
    let mut config = config();
    config.network.no_builds = true;
    let (outcome, made) = run(config, "good").await;
    has_no_wheel(&outcome);
    assert_eq!(made, ["good"]);
}

#[tokio::test]
async fn a_driver_that_adopts_a_task_gives_its_later_pods_what_the_task_asked_for() {
    let cluster = Double::new(Duration::from_millis(200), report);
    let mut config = config();
    config.network.no_builds = true;
    let first = KubeDriver::open(cluster.client(), config.clone()).await.unwrap();
    let mut spec = TaskSpec {
        dependencies: "docopt".to_owned(),
        ..TaskSpec::new("print(1)")
    };
    spec.resources.memory = Some("512Mi".to_owned());
    let options = SubmitOptions {
        id: Some("good".to_owned()),
        ..SubmitOptions::default()
    };
    let ticket = first.submit(&spec, &options).await.unwrap();
    config.network.no_builds = false;
    let second = KubeDriver::open(cluster.client(), config).await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(60), second.settle(&ticket)).await;
    assert!(outcome.unwrap().unwrap().end.is_success());
    assert_eq!(cluster.made(), ["good", "good-b"]);
    let job = cluster.job("good-b").unwrap();
    let limit = job.pointer("/spec/template/spec/containers/0/resources/limits/memory");
    assert_eq!(limit, Some(&json!("512Mi")), "{job}");
}
