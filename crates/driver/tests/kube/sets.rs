//! Volume sets on a cluster that has several: where tasks run, what is on which set, and a set whose node takes no pods.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::bench::{self, Bench, on, spec, wait, within};

/// Small packages, so that their environments are made quickly.
const PACKAGES: [&str; 8] = [
    "idna",
    "six",
    "certifi",
    "attrs",
    "packaging",
    "colorama",
    "toml",
    "zipp",
];
const SET: &str = "hybrid-cache.dev/set";
/// How long a set that is down is avoided, and time for a busy machine.
const RETRY_TIME: Duration = Duration::from_secs(40);

/// The cluster; `None`, with a message, unless it has several volume sets.
async fn cluster(test: &str) -> Option<Bench> {
    let bench = bench::cluster(test).await?;
    if bench.config.sets().len() < 2 {
        println!(
            "skipped: {test}: the cluster has one volume set: `cargo xtask up --workers 2 --volume-sets 2` makes more"
        );
        return None;
    }
    Some(bench)
}

/// The set that a task's latest workload names, and the node of its pod.
async fn place_of(bench: &Bench, id: &str) -> (String, String) {
    let params = ListParams::default().labels(&format!("hybrid-cache.dev/task={id}"));
    let jobs: Api<Job> = Api::namespaced(bench.client.clone(), &bench.config.namespace);
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.config.namespace);
    let job = within(jobs.list(&params)).await.unwrap().items.pop().unwrap();
    let pod = within(pods.list(&params)).await.unwrap().items.pop().unwrap();
    (job.annotations()[SET].clone(), pod.spec.unwrap().node_name.unwrap())
}

/// Runs a task and returns where, and whether all that it asks for was cached.
async fn run_at(bench: &Bench, driver: &KubeDriver, epoch: &Epoch, task: &TaskSpec) -> ((String, String), bool) {
    let ticket = driver.submit(task, &on(epoch)).await.unwrap();
    let ran = wait(driver, &ticket).await;
    ran.printed("1\n");
    within(driver.settle(&ticket)).await.unwrap();
    let place = place_of(bench, &ticket.id).await;
    driver.forget(&ticket);
    (place, ran.outcome.cache.all_hit())
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_spread_over_the_sets_and_each_is_built_once() {
    let Some(bench) = cluster("environments_spread_over_the_sets").await else {
        return;
    };
    let driver = bench.driver().await;
    let epoch = within(driver.fresh_epoch()).await.unwrap();
    let mut used = HashSet::new();
    for package in PACKAGES {
        let task = spec("print(1)", package, "");
        let (first, was_cached) = run_at(&bench, &driver, &epoch, &task).await;
        assert!(!was_cached, "{package}");
        // Another process, which remembers nothing, finds it as well.
        let (second, is_cached) = run_at(&bench, &bench.driver().await, &epoch, &task).await;
        assert!(is_cached, "{package} on {first:?} and {second:?}");
        assert_eq!(first, second, "{package}");
        used.insert(first);
    }
    let sets: HashSet<&String> = used.iter().map(|(set, _)| set).collect();
    assert_eq!(sets.len(), used.len(), "a set has one node: {used:?}");
    assert!(sets.len() > 1, "{used:?}");
    let answers = within(driver.maintain_sets(&epoch, |_| PodMaintenanceCommand::Usage)).await;
    let count = |answer: &hybrid_cache_driver::kube::SetReport| match &answer.report {
        Ok(PodMaintainReport::Maintained {
            report: MaintainReport::Usage(usage),
        }) => usage.environments,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        answers.iter().map(count).sum::<u64>(),
        PACKAGES.len() as u64,
        "{answers:?}"
    );
    within(driver.discard_epoch(&epoch)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_set_has_standby_pods_and_a_task_takes_one_of_its_own() {
    let Some(bench) = cluster("each_set_has_standby_pods").await else {
        return;
    };
    let pool = super::standby::Pool::open(&bench, "sets-standby", 1).await;
    for package in &PACKAGES[..4] {
        let task = spec("print(1)", package, "");
        pool.run(&task).await.printed("1\n");
        pool.fill().await;
        let before = pool.driver.standby().unwrap().counts.used;
        let ran = pool.run(&task).await;
        ran.printed("1\n");
        assert!(ran.outcome.cache.all_hit(), "{package}: {:?}", ran.outcome);
        assert_eq!(pool.driver.standby().unwrap().counts.used, before + 1, "{package}");
    }
    pool.end().await;
}

/// A node that takes no pods until this is dropped.
struct Cordoned {
    nodes: Api<Node>,
    name: String,
}

impl Cordoned {
    async fn new(bench: &Bench, name: &str) -> Cordoned {
        let cordoned = Cordoned {
            nodes: Api::all(bench.client.clone()),
            name: name.to_owned(),
        };
        cordoned.set(true).await;
        cordoned
    }

    async fn set(&self, is_cordoned: bool) {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": is_cordoned}}));
        let params = PatchParams::default();
        let patched = self.nodes.patch(&self.name, &params, &patch);
        within(patched).await.unwrap();
    }
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        let opened = self.set(false);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(opened));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_leave_a_set_whose_node_takes_no_pods_and_come_back_to_its_warm_caches() {
    let Some(bench) = cluster("tasks_leave_a_set_whose_node_takes_no_pods").await else {
        return;
    };
    let driver = bench.driver().await;
    let epoch = within(driver.fresh_epoch()).await.unwrap();
    let task = spec("print(1)", "idna", "");
    let (home, _) = run_at(&bench, &driver, &epoch, &task).await;
    let cordoned = Cordoned::new(&bench, &home.1).await;
    let began = Instant::now();
    let ticket = driver.submit(&task, &on(&epoch)).await.unwrap();
    let ran = wait(&driver, &ticket).await;
    ran.printed("1\n");
    println!(
        "moved and built elsewhere in {:?}: {:?}",
        began.elapsed(),
        ran.outcome.warnings
    );
    let warnings = ran.outcome.warnings.join("\n");
    assert!(
        warnings.contains(&format!("set {} cannot be used", home.0)),
        "{warnings}"
    );
    let status = |name: &str| driver.volume_sets().into_iter().find(|set| set.name == name).unwrap();
    assert!(status(&home.0).is_down);
    let (elsewhere, _) = run_at(&bench, &driver, &epoch, &task).await;
    assert_ne!(elsewhere.0, home.0);
    drop(cordoned);
    tokio::time::sleep(RETRY_TIME).await;
    // A driver that remembers nothing asks the first choice; this one tries it with an environment that only it has.
    let (back, is_cached) = run_at(&bench, &bench.driver().await, &epoch, &task).await;
    assert_eq!((back, is_cached), (home.clone(), true));
    let mut tried = 0;
    while status(&home.0).is_down {
        tried += 1;
        assert!(tried < PACKAGES.len(), "no task has tried the set again");
        run_at(&bench, &driver, &epoch, &spec("print(1)", PACKAGES[tried], "")).await;
    }
    within(driver.discard_epoch(&epoch)).await.unwrap();
}
