//! Tasks of volume sets whose volumes have no node: each runs once, elsewhere, and nothing waits for long.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hybrid_cache_model::pod::PodMaintenanceCommand;
use hybrid_cache_model::{FailureKind, Outcome, Phase, TaskSpec};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::kube::config::KubeConfig;
use crate::kube::config::tests::{config, with_sets};
use crate::kube::driver::KubeDriver;
use crate::kube::tests::answers::claims_of;
use crate::kube::tests::double::Double;
use crate::{Driver, Epoch, SubmitOptions, Ticket};

const MINUTE: Duration = Duration::from_secs(60);
const NO_NODE: &str = "0/2 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 1 node(s) had \
                       volume node affinity conflict.";

fn report(name: &str) -> Value {
    if name.starts_with("maintain") {
        return json!({"answer": "done"});
    }
    let nothing = json!({"written_bytes": 0, "passed_bytes": 0});
    if name == "misses" {
        return json!({
            "report": "missed", "missed": {"python": true, "python_stale": false, "system": false}, "timeline": {"total_us": 1, "spans": []},
        });
    }
    json!({
        "report": "finished", "end": "exited", "code": 0, "timeline": {"total_us": 1, "spans": []}, "stdout": nothing, "stderr": nothing,
        "cache": {"python": {"status": "hit"}, "system": {"status": "not_asked"}}, "resolved": {},
    })
}

async fn open(cluster: &Double, config: KubeConfig) -> KubeDriver {
    KubeDriver::open(cluster.client(), config).await.unwrap()
}

fn asking(dependencies: &str) -> TaskSpec {
    TaskSpec {
        dependencies: dependencies.to_owned(),
        ..TaskSpec::new("print(1)")
    }
}

async fn submit(driver: &KubeDriver, id: &str, spec: &TaskSpec) -> Ticket {
    let options = SubmitOptions {
        id: Some(id.to_owned()),
        ..SubmitOptions::default()
    };
    timeout(MINUTE, driver.submit(spec, &options)).await.unwrap().unwrap()
}

async fn settle(driver: &KubeDriver, ticket: &Ticket) -> Outcome {
    timeout(MINUTE, driver.settle(ticket)).await.unwrap().unwrap()
}

/// Runs a task on an idle cluster and returns the Python claim that its Job mounted.
async fn claim_of(cluster: &Double, driver: &KubeDriver, id: &str, spec: &TaskSpec) -> String {
    let ticket = submit(driver, id, spec).await;
    assert!(settle(driver, &ticket).await.end.is_success());
    claims_of(&cluster.job(id).unwrap()).remove(0)
}

/// Packages whose set is the second one.
async fn of_second(cluster: &Double, driver: &KubeDriver) -> TaskSpec {
    for number in 0..32 {
        let spec = asking(&format!("package-{number}"));
        if claim_of(cluster, driver, &format!("look-{number}"), &spec).await == "uv-cache-pvc-1" {
            return spec;
        }
    }
    panic!("no environment of 32 is on the second set");
}

#[tokio::test]
async fn every_attempt_at_a_task_stays_on_its_set() {
    let cluster = Double::new(Duration::from_millis(20), report);
    let driver = open(&cluster, with_sets(config(), 3)).await;
    let spec = of_second(&cluster, &driver).await;
    // It is known to be cached there, so the first pod is a warm one, which misses.
    let ticket = submit(&driver, "misses", &spec).await;
    assert!(settle(&driver, &ticket).await.end.is_success());
    let prepared = cluster.job("misses-p").unwrap();
    assert_eq!(claims_of(&prepared)[0], "uv-cache-pvc-1");
    let marks = [
        "/metadata/labels",
        "/spec/template/metadata/labels",
        "/metadata/annotations",
    ];
    for place in marks {
        let mark = prepared.pointer(place).map(|marks| &marks["hybrid-cache.dev/set"]);
        assert_eq!(mark, Some(&json!("1")), "{place}");
    }
}

#[tokio::test]
async fn a_task_whose_volumes_have_no_node_runs_once_on_another_set() {
    let cluster = Double::new(Duration::from_millis(20), report);
    let driver = open(&cluster, with_sets(config(), 2)).await;
    let spec = of_second(&cluster, &driver).await;
    cluster.lose("uv-cache-pvc-1", NO_NODE);
    let ticket = submit(&driver, "moved", &spec).await;
    let outcome = settle(&driver, &ticket).await;
    assert!(outcome.end.is_success(), "{outcome:?}");
    let warning = outcome.warnings.join("\n");
    assert!(
        warning.contains("set 1 cannot be used") && warning.contains("on set 0"),
        "{warning}"
    );
    assert!(
        outcome.timeline.phase_us(Phase::Schedule) > 1_000_000,
        "{:?}",
        outcome.timeline
    );
    let of_task = |names: Vec<String>| {
        names
            .into_iter()
            .filter(|name| name.starts_with("moved"))
            .collect::<Vec<_>>()
    };
    assert_eq!(of_task(cluster.made()), ["moved", "moved-m"]);
    assert_eq!(of_task(cluster.ran()), ["moved-m"]);
    assert!(!cluster.there("jobs").contains(&"moved".to_owned()));
    assert_eq!(claims_of(&cluster.job("moved-m").unwrap())[0], "uv-cache-pvc");
    let sets = driver.volume_sets();
    assert_eq!((sets[0].is_down, sets[1].is_down, sets[1].tasks), (false, true, 0));
    // Others do not try it meanwhile.
    assert_eq!(claim_of(&cluster, &driver, "next", &spec).await, "uv-cache-pvc");
}

#[tokio::test]
async fn a_task_that_was_submitted_by_another_process_moves_as_well() {
    let cluster = Double::new(Duration::from_millis(20), report);
    // The other process knows one set, and so moves nothing.
    let mut only = with_sets(config(), 2);
    let mut set = only.volume_sets.remove(1);
    set.follows_pods = true;
    (only.python_claim, only.nix_claim) = (set.python_claim.clone(), set.nix_claim.clone());
    only.volume_sets = vec![set];
    let other = open(&cluster, only).await;
    cluster.lose("uv-cache-pvc-1", NO_NODE);
    let ticket = submit(&other, "left", &asking("package")).await;
    let driver = open(&cluster, with_sets(config(), 2)).await;
    let outcome = settle(&driver, &ticket).await;
    assert!(outcome.end.is_success(), "{outcome:?}");
    assert_eq!(claims_of(&cluster.job("left-m").unwrap())[0], "uv-cache-pvc");
    let ran: Vec<String> = cluster
        .ran()
        .into_iter()
        .filter(|name| name.starts_with("left"))
        .collect();
    assert_eq!(ran, ["left-m"]);
}

#[tokio::test]
async fn a_pod_that_gets_its_node_at_the_last_moment_is_not_run_again() {
    let cluster = Double::new(Duration::from_millis(200), report);
    let driver = open(&cluster, with_sets(config(), 2)).await;
    let spec = of_second(&cluster, &driver).await;
    cluster.bind_late();
    cluster.lose("uv-cache-pvc-1", NO_NODE);
    let ticket = submit(&driver, "late", &spec).await;
    settle(&driver, &ticket).await;
    let of_task = |names: Vec<String>| {
        names
            .into_iter()
            .filter(|name| name.starts_with("late"))
            .collect::<Vec<_>>()
    };
    assert_eq!(of_task(cluster.made()), ["late"]);
}

#[tokio::test]
async fn a_moment_without_a_node_moves_nothing_and_one_set_is_waited_for() {
    for sets in [1, 2] {
        let cluster = Double::new(Duration::from_millis(20), report);
        let driver = open(&cluster, with_sets(config(), sets)).await;
        let (spec, claim) = match sets {
            1 => (asking("package"), "uv-cache-pvc"),
            _ => (of_second(&cluster, &driver).await, "uv-cache-pvc-1"),
        };
        cluster.lose(claim, NO_NODE);
        let ticket = submit(&driver, "waits", &spec).await;
        let long = if sets == 1 { 4000 } else { 1000 };
        sleep(Duration::from_millis(long)).await;
        cluster.restore(claim);
        assert!(settle(&driver, &ticket).await.end.is_success());
        let made: Vec<String> = cluster
            .made()
            .into_iter()
            .filter(|name| name.starts_with("waits"))
            .collect();
        assert_eq!(made, ["waits"]);
        assert!(driver.volume_sets().iter().all(|set| !set.is_down));
    }
}

#[tokio::test]
async fn folders_are_made_on_every_set_and_a_set_without_a_node_is_named() {
    let cluster = Double::new(Duration::from_millis(20), report);
    let driver = open(&cluster, with_sets(config(), 2)).await;
    timeout(MINUTE, driver.initialise()).await.unwrap().unwrap();
    assert_eq!(cluster.made().len(), 2);
    cluster.lose("nix-store-pvc-1", NO_NODE);
    let asked = driver.maintain(&Epoch::Standing, PodMaintenanceCommand::SetAside);
    let failure = timeout(MINUTE, asked).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unschedulable);
    assert!(
        failure.message.starts_with("volume set 1: its volumes cannot be used"),
        "{failure}"
    );
    assert!(!failure.message.contains("volume set 0"), "{failure}");
    let each = driver.maintain_sets(&Epoch::Standing, |_| PodMaintenanceCommand::SetAside);
    let each = timeout(MINUTE, each).await.unwrap();
    assert_eq!(
        each.iter().map(|one| one.report.is_ok()).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(
        driver.volume_sets().iter().map(|set| set.is_down).collect::<Vec<_>>(),
        [false, true]
    );
}

#[tokio::test]
async fn each_set_is_asked_with_its_own_budget() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let cluster = Double::new(Duration::from_millis(20), report);
    let mut config = with_sets(config(), 2);
    config.volume_sets[1].python_claim_bytes = 7 << 30;
    let driver = open(&cluster, config).await;
    let noted = Arc::clone(&asked);
    let answers = driver.maintain_sets(&Epoch::Standing, |set| {
        let budgets = driver.config().budgets(set);
        noted.lock().unwrap().push(budgets.python.claim_bytes);
        PodMaintenanceCommand::Gc { budgets }
    });
    timeout(MINUTE, answers).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [None, Some(7 << 30)]);
}
