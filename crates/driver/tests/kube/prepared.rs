//! Prepared interpreters in standby pods: who gets one, what it saves, and what happens if it cannot be prepared.

use std::time::{Duration, Instant};

use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::{Driver, Epoch, SubmitOptions};
use hybrid_cache_model::pod::STANDBY_NOTE;
use hybrid_cache_model::prepared::PreparedInterpreter;
use hybrid_cache_model::{TaskSpec, Tenant};
use kube::api::{ListParams, LogParams};

use super::bench::{self, Bench, Ran, options, run, spec};
use super::standby::{pods, was_standby};

const FILL_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a pod may take to import after it is ready.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(90);
const LOADED: &str = "import sys; print('numpy' in sys.modules)";

/// A driver with prepared pods beside one ordinary standby pod.
struct Prepared {
    bench: Bench,
    driver: KubeDriver,
    options: SubmitOptions,
    entry: PreparedInterpreter,
}

impl Prepared {
    async fn open(bench: &Bench, dependencies: &str, imports: &[&str]) -> Prepared {
        let entry = PreparedInterpreter {
            dependencies: dependencies.to_owned(),
            system_dependencies: String::new(),
            imports: imports.iter().map(|name| (*name).to_owned()).collect(),
            pods: 1,
        };
        let bench = bench.with(|config| {
            config.standby = Some("1".parse().unwrap());
            config.prepared = vec![entry.clone()];
        });
        Prepared {
            driver: bench.driver().await,
            bench,
            options: options(),
            entry,
        }
    }

    async fn fill(&self) {
        let tenant = Tenant::default();
        let filled = self.driver.fill_standby(&Epoch::Standing, &tenant, FILL_TIMEOUT).await;
        filled.unwrap();
    }

    async fn run(&self, spec: &TaskSpec) -> Ran {
        run(&self.driver, spec, &self.options).await
    }

    /// Runs a task until its interpreter was prepared: the environment may be new, and a pod prepares some time after it is ready.
    async fn run_until_loaded(&self, spec: &TaskSpec) -> Ran {
        let until = Instant::now() + PREPARE_TIMEOUT;
        loop {
            self.fill().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let ran = self.run(spec).await;
            if ran.stdout.starts_with("True") || Instant::now() > until {
                return ran;
            }
        }
    }

    /// The log of the pod that waits with this import.
    async fn log_of_waiting(&self) -> String {
        let sets: kube::Api<k8s_openapi::api::apps::v1::ReplicaSet> =
            kube::Api::namespaced(self.bench.client.clone(), &self.bench.config.namespace);
        let sets = sets.list(&ListParams::default()).await.unwrap().items;
        let packages = format!("{};{}", self.entry.dependencies, self.entry.system_dependencies);
        let is_ours = |set: &k8s_openapi::api::apps::v1::ReplicaSet| {
            let annotations = set.metadata.annotations.as_ref();
            annotations.and_then(|all| all.get("hybrid-cache.dev/prepared")) == Some(&packages)
        };
        let name = sets.into_iter().find(is_ours).unwrap().metadata.name.unwrap();
        let selector = format!("hybrid-cache.dev/standby={name}");
        let waiting = pods(&self.bench)
            .list(&ListParams::default().labels(&selector))
            .await
            .unwrap();
        let name = waiting.items[0].metadata.name.clone().unwrap();
        pods(&self.bench).logs(&name, &LogParams::default()).await.unwrap()
    }

    async fn end(self) {
        self.driver.end_standby().await.unwrap();
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The pods of a test that fails would take the room of others.
            let ending = self.driver.end_standby();
            let _ = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ending));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_with_exactly_these_packages_runs_in_an_interpreter_that_has_imported_them() {
    let Some(bench) = bench::cluster("a_task_with_exactly_these_packages").await else {
        return;
    };
    let prepared = Prepared::open(&bench, "numpy", &["numpy"]).await;
    let mut task = spec(LOADED, "numpy", "");
    let ran = prepared.run_until_loaded(&task).await;
    ran.printed("True\n");
    assert!(was_standby(&ran) && ran.outcome.cache.all_hit(), "{:?}", ran.outcome);
    assert!(ran.outcome.warnings.is_empty(), "{:?}", ran.outcome);
    assert!(prepared.driver.standby().unwrap().counts.prepared >= 1);
    // All that a task may bring reaches it, and its end and both streams are as ever.
    task.python_code =
        "import os, sys\nprint('numpy' in sys.modules, sys.argv[1:], os.environ['OPEN'], os.environ['TOKEN'], \
                        sys.stdin.read())\nsys.exit(5)"
            .to_owned();
    task.args = vec!["one".to_owned()];
    task.stdin = "typed".to_owned();
    task.env.insert("OPEN".to_owned(), "open".to_owned());
    task.secret_env.insert("TOKEN", "hush");
    let ran = prepared.run_until_loaded(&task).await;
    assert_eq!(ran.stdout, "True ['one'] open hush typed\n", "{:?}", ran.outcome);
    assert_eq!(ran.outcome.end, hybrid_cache_model::End::Exited { code: 5 });
    // Other packages, and none, do not get it.
    for other in [spec(LOADED, "", ""), spec(LOADED, "numpy,idna", "")] {
        let before = prepared.driver.standby().unwrap().counts.prepared;
        prepared.run(&other).await.printed("False\n");
        assert_eq!(prepared.driver.standby().unwrap().counts.prepared, before);
    }
    prepared.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_without_a_free_prepared_interpreter_take_what_other_tasks_take() {
    let Some(bench) = bench::cluster("tasks_without_a_free_prepared_interpreter").await else {
        return;
    };
    let prepared = Prepared::open(&bench, "numpy,six", &["numpy", "numpy.linalg"]).await;
    let task = spec(
        "import sys, time; print('numpy' in sys.modules); time.sleep(4)",
        "numpy,six",
        "",
    );
    prepared.run_until_loaded(&task).await;
    prepared.fill().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = prepared.driver.standby().unwrap().counts;
    let mut ran = Vec::new();
    let tickets = [
        prepared.driver.submit(&task, &prepared.options).await.unwrap(),
        prepared.driver.submit(&task, &prepared.options).await.unwrap(),
        prepared.driver.submit(&task, &prepared.options).await.unwrap(),
    ];
    for ticket in &tickets {
        ran.push(bench::wait(&prepared.driver, ticket).await);
    }
    // Other tests may take the ordinary one.
    let loaded: Vec<&Ran> = ran.iter().filter(|ran| ran.stdout == "True\n").collect();
    assert!(loaded.len() == 1 && was_standby(loaded[0]), "{ran:?}");
    assert!(ran.iter().all(|ran| ran.outcome.end.is_success()), "{ran:?}");
    let after = prepared.driver.standby().unwrap().counts;
    assert_eq!(after.prepared - before.prepared, 1, "{after:?}");
    assert!(after.none_free > before.none_free, "{after:?}");
    prepared.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_cannot_prepare_says_why_in_its_log_and_still_takes_a_task() {
    let Some(bench) = bench::cluster("a_pod_that_cannot_prepare").await else {
        return;
    };
    let prepared = Prepared::open(&bench, "idna", &["idna", "no_such_module"]).await;
    let task = spec("import idna; print('ran')", "idna", "");
    prepared.run(&task).await.printed("ran\n");
    prepared.fill().await;
    let until = Instant::now() + PREPARE_TIMEOUT;
    let note = loop {
        let log = prepared.log_of_waiting().await;
        if log.contains("no_such_module") || Instant::now() > until {
            break log;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert!(
        note.starts_with(STANDBY_NOTE) && note.contains("no_such_module: ModuleNotFoundError"),
        "{note}"
    );
    let ran = prepared.run(&task).await;
    ran.printed("ran\n");
    assert!(was_standby(&ran), "{:?}", ran.outcome);
    prepared.end().await;
}
