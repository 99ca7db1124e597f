//! An image with several interpreters: a task in a pod runs on the one that it asks for.

use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_model::{CacheStatus, FailureKind, TaskSpec};

use super::bench::{self, Ran, on, spec, wait, within};

const TEST: &str = "a_task_in_a_pod_runs_on_the_python_that_it_asks_for";

fn asking(version: &str, dependencies: &str, code: &str) -> TaskSpec {
    TaskSpec {
        python_version: version.to_owned(),
        ..spec(code, dependencies, "")
    }
}

/// Runs a task until everything is published.
async fn run(driver: &KubeDriver, epoch: &Epoch, task: &TaskSpec) -> Ran {
    let ticket = driver.submit(task, &on(epoch)).await.unwrap();
    let ran = wait(driver, &ticket).await;
    within(driver.settle(&ticket)).await.unwrap();
    ran
}

/// The versions of the image, the default first, as the refusal of another one names them.
fn offered(reported: &str) -> Vec<String> {
    let named = ["on offer are ", "only Python "]
        .iter()
        .find_map(|start| reported.split_once(start))
        .map(|(_, rest)| rest.split(';').next().unwrap_or_default())
        .expect("the versions on offer");
    let is_version = |word: &&str| word.starts_with("3.");
    let words = named.split([' ', ',']).filter(is_version);
    words.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_a_pod_runs_on_the_python_that_it_asks_for() {
    let Some(bench) = bench::cluster(TEST).await else {
        return;
    };
    let driver = bench.driver().await;
    let epoch = within(driver.fresh_epoch()).await.unwrap();
    let refused = run(&driver, &epoch, &asking("3.98", "", "1")).await;
    refused.failed(
        FailureKind::InvalidTask,
        &["/pythonVersion: Python 3.98 is not on offer", "`pythonVersions`"],
    );
    let versions = offered(&refused.failure().to_string());
    if versions.len() == 1 {
        println!("skipped: {TEST}: the image has one interpreter");
        return;
    }
    let code = "import idna, platform, sys; print(platform.python_version(), sys.prefix != sys.base_prefix)";
    // With another wheel for each version.
    let compiled = "import markupsafe._speedups, sys; print(sys.version_info[:2])";
    for version in versions.iter().rev() {
        let task = asking(version, "idna", code);
        let first = run(&driver, &epoch, &task).await;
        first.printed(&format!("{version} True\n"));
        assert_ne!(first.outcome.cache.python, CacheStatus::Hit, "{version}");
        let cached = run(&driver, &epoch, &task).await;
        cached.printed(&first.stdout);
        assert_eq!(cached.outcome.cache.python, CacheStatus::Hit, "{version}");
        let minor: Vec<&str> = version.split('.').take(2).collect();
        let speedups = run(&driver, &epoch, &asking(&minor.join("."), "markupsafe", compiled)).await;
        speedups.printed(&format!("({})\n", minor.join(", ")));
        let plain = asking(version, "", "import platform; print(platform.python_version())");
        run(&driver, &epoch, &plain).await.printed(&format!("{version}\n"));
    }
    // A task that names no version gets the default's environment.
    let default = run(&driver, &epoch, &asking("", "idna", code)).await;
    default.printed(&format!("{} True\n", versions[0]));
    assert_eq!(default.outcome.cache.python, CacheStatus::Hit);

    let question = PodMaintenanceCommand::Verify { repair: false };
    let report = within(driver.maintain(&epoch, question)).await.unwrap();
    let PodMaintainReport::Maintained {
        report: MaintainReport::Verify(report),
    } = report
    else {
        panic!("{report:?}")
    };
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.environments, 2 * versions.len() as u64, "{report:?}");
    within(driver.discard_epoch(&epoch)).await.unwrap();
}
