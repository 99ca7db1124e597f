//! Killed at any moment: everything below dies too, nothing half-made is ever used, and the next run is good.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hybrid_cache_driver::Driver;
use hybrid_cache_model::{CacheStatus, TaskSpec};

use crate::bench::{Bench, machine, machine_with_nix, python, system};
use crate::roles::{Play, until};

/// At how many moments of a first run it is killed.
const MOMENTS: u32 = 6;

/// A process: its number, and when it started, so that another one of that number is not taken for it.
fn identity(pid: &str) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    // A zombie is dead; only its parent still has it.
    (after_name[0] != "Z").then(|| (pid.to_owned(), after_name[19].to_owned()))
}

/// True for the process that keeps a network for later tasks: it outlives its driver, and holds nothing of it.
fn keeps_network(pid: &str) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"hold-network")
}

/// The process and all below it.
fn family(root: u32) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![root.to_string()];
    while let Some(pid) = left.pop() {
        if keeps_network(&pid) {
            continue;
        }
        found.extend(identity(&pid));
        let threads = std::fs::read_dir(PathBuf::from("/proc").join(&pid).join("task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            left.extend(children.split_whitespace().map(str::to_owned));
        }
    }
    found
}

/// Kills a first run's driver at six moments, each time on caches that are empty before; how often its sandbox was
/// at work then.
async fn killed_everywhere(bench: &dyn Fn() -> Bench, spec: &TaskSpec, expected: &str) -> u32 {
    let whole = {
        let (bench, began) = (bench(), Instant::now());
        assert_eq!(bench.run(spec).await.good(), expected);
        began.elapsed()
    };
    let mut at_work = 0;
    for moment in 0..MOMENTS {
        let bench = bench();
        let mut driver = Play::new(&bench.config, std::slice::from_ref(spec)).spawn();
        let began = Instant::now();
        tokio::time::sleep(whole * (2 * moment + 1) / (2 * MOMENTS)).await;
        let family = family(driver.child.id());
        driver.kill();
        let killed_at = began.elapsed();
        until("everything below the driver is dead", || {
            family.iter().all(|one| identity(&one.0).as_ref() != Some(one))
        })
        .await;
        let ran = bench.run(spec).await;
        assert_eq!(ran.good(), expected, "killed after {killed_at:?}");
        assert_eq!(ran.outcome.warnings, Vec::<String>::new(), "killed after {killed_at:?}");
        at_work += u32::from(family.len() > 1);
        let report = bench.verify().await;
        assert!(report.is_clean(), "killed after {killed_at:?}: {report:?}");
        let again = bench.run(spec).await;
        assert!(
            again.outcome.cache.all_hit() && again.good() == expected,
            "killed after {killed_at:?}"
        );
    }
    at_work
}

#[tokio::test]
async fn a_python_preparation_may_be_killed_at_any_moment() {
    let Some(config) = machine("a_python_preparation_may_be_killed_at_any_moment") else {
        return;
    };
    let spec = python(
        "numpy,packaging",
        "import numpy, packaging.version; print(numpy.arange(3).sum())",
    );
    let at_work = killed_everywhere(&|| Bench::empty(config.clone()), &spec, "3").await;
    assert!(
        at_work >= 3,
        "only {at_work} were killed while they were at work: this shows little"
    );
}

#[tokio::test]
async fn a_system_preparation_may_be_killed_at_any_moment() {
    let Some(config) = machine_with_nix("a_system_preparation_may_be_killed_at_any_moment") else {
        return;
    };
    let code =
        "import subprocess; print(subprocess.run(['m4'], input='eval(6*7)', capture_output=True, text=True).stdout)";
    let spec = system("m4,gzip", code);
    let at_work = killed_everywhere(&|| Bench::empty(config.clone()), &spec, "42").await;
    assert!(
        at_work >= 3,
        "only {at_work} were killed while they were at work: this shows little"
    );
}

#[tokio::test]
async fn a_killed_bypass_is_swept_by_the_next_driver() {
    let Some(config) = machine("a_killed_bypass_is_swept_by_the_next_driver") else {
        return;
    };
    let bench = Bench::empty(config);
    let mut spec = python("numpy", "print(1)");
    spec.use_cache = false;
    let mut driver = Play::new(&bench.config, &[spec]).spawn();
    let bypass = bench.config.root.join("bypass");
    until("uv fills its folder", || crate::roles::count_below(&bypass, 40)).await;
    // While its process runs, no other process touches it.
    drop(bench.with(|_| {}));
    assert!(bypass.exists());
    driver.kill();
    drop(bench.with(|_| {}));
    assert!(!bypass.exists(), "the left-over is still there");
}

#[tokio::test]
async fn cancelled_while_it_is_prepared_a_task_leaves_good_caches() {
    let Some(config) = machine_with_nix("cancelled_while_it_is_prepared_a_task_leaves_good_caches") else {
        return;
    };
    let bench = Bench::empty(config);
    let mut spec = python("idna,packaging", "import idna; print('good')");
    spec.system_dependencies = "m4".to_owned();
    let ticket = bench.submit(&spec).await;
    until("uv fills its folder", || {
        crate::roles::count_below(&bench.config.root.join("volumes"), 30)
    })
    .await;
    let began = Instant::now();
    bench.driver.cancel(&ticket).await.unwrap();
    let ran = bench.finish(&ticket).await;
    assert_eq!(ran.outcome.end, hybrid_cache_model::End::Cancelled);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let again = bench.run(&spec).await;
    assert_eq!(again.good(), "good");
    assert!(bench.verify().await.is_clean());
    assert_eq!(bench.run(&spec).await.python(), CacheStatus::Hit);
}
