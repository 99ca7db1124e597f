//! The service over the real local driver: real sandboxes, and what becomes of them when the service is killed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_driver::local::{LocalConfig, LocalDriver};
use hybrid_cache_driver::{SubmitOptions, Ticket};
use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_service::EndName;
use hybrid_cache_service::{Engine, Follow, StateName, TaskId};

use crate::bench::{PATIENCE, config, lines, play, plays, reaches, read_all, say, submit, until};

/// Names the file with this machine's configuration; `cargo xtask test` writes it.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_LOCAL_CONFIG";

/// A driver with caches in this folder; `None`, with a message, if the tools are not provisioned.
fn machine(test: &str, root: &Path) -> Option<Arc<LocalDriver>> {
    let Some(file) = std::env::var_os(CONFIG_VARIABLE) else {
        println!("skipped: {test}: {CONFIG_VARIABLE} is not set; `cargo xtask test` sets it");
        return None;
    };
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", Path::new(&file).display()));
    let mut config: LocalConfig = serde_json::from_slice(&text).unwrap();
    config.root = root.join("caches");
    Some(Arc::new(LocalDriver::open(config).unwrap()))
}

async fn open(folder: &Path, driver: &Arc<LocalDriver>) -> Engine {
    until("the folder is let go of", || async {
        let driver = Arc::clone(driver) as Arc<dyn Driver>;
        Engine::open(config(folder), driver).await.ok()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_tasks_run_print_and_are_cancelled() {
    let root = tempfile::tempdir().unwrap();
    let Some(driver) = machine("real_tasks_run_print_and_are_cancelled", root.path()) else {
        return;
    };
    let engine = open(&root.path().join("service"), &driver).await;
    let good = submit(&engine, "import sys\nprint('out')\nprint('err', file=sys.stderr)").await;
    engine.run(&good).await.unwrap();
    let view = reaches(&engine, &good, StateName::Ended).await;
    assert_eq!(view.summary.exit_code, Some(0), "{view:?}");
    assert_eq!(
        (view.output.stdout.as_str(), view.output.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert!(view.timeline.unwrap().total_us > 0);
    let long = submit(&engine, "import time\nprint('begun', flush=True)\ntime.sleep(600)").await;
    engine.run(&long).await.unwrap();
    let mut reader = engine.output(&long, 0, Follow::UntilEnd).await.unwrap();
    // Unbuffered, Python writes a line and its end apart: they may arrive as two.
    let mut begun = Vec::new();
    while !begun.ends_with(b"\n") {
        let chunk = tokio::time::timeout(PATIENCE, reader.next()).await.unwrap();
        begun.extend(chunk.unwrap().expect("the task goes on").bytes);
    }
    assert_eq!(begun, b"begun\n");
    engine.cancel(&long).await.unwrap();
    let view = reaches(&engine, &long, StateName::Cancelled).await;
    assert_eq!(view.summary.end, Some(EndName::Cancelled));
    assert!(reader.next().await.unwrap().is_none());
    let report = engine.shutdown(Duration::from_secs(5)).await;
    assert_eq!((report.finished, report.handed_over, report.stopped), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_the_operator_does_not_allow_is_refused_before_a_task_exists() {
    let root = tempfile::tempdir().unwrap();
    let test = "a_source_that_the_operator_does_not_allow_is_refused_before_a_task_exists";
    let Some(driver) = machine(test, root.path()) else {
        return;
    };
    let engine = open(&root.path().join("service"), &driver).await;
    let spec = TaskSpec {
        requirements_file:
            "six\n\nnamed @ https://files.invalid/named-1.0-py3-none-any.whl\n-f https://other.invalid\n--foo\n"
                .to_owned(),
        ..TaskSpec::new("1")
    };
    let reported = engine.submit(&spec, None).await.unwrap_err().to_string();
    for part in ["3 errors", "line 3", "`wheelHosts`", "line 4", "`indexes`", "line 5"] {
        assert!(reported.contains(part), "{part}: {reported}");
    }
    engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_submitted_again_finds_the_task_that_is_there() {
    let root = tempfile::tempdir().unwrap();
    let Some(driver) = machine(
        "an_id_that_is_submitted_again_finds_the_task_that_is_there",
        root.path(),
    ) else {
        return;
    };
    let options = SubmitOptions {
        id: Some("task-again".to_owned()),
        ..SubmitOptions::default()
    };
    let spec = TaskSpec::new("print('once')");
    let one: Ticket = driver.submit(&spec, &options).await.unwrap();
    let other = driver.submit(&spec, &options).await.unwrap();
    assert_eq!((one.id.as_str(), &one), ("task-again", &other));
    assert!(driver.wait(&one).await.unwrap().end.is_success());
    let mut log = driver.logs(&other).unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = log.next().await {
        all.extend(chunk.bytes);
    }
    assert_eq!(all, b"once\n");
    let path = SubmitOptions {
        id: Some("../x".to_owned()),
        ..SubmitOptions::default()
    };
    assert!(driver.submit(&spec, &path).await.is_err());
}

/// Role: a service with one running and one waiting task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_busy() {
    let Some(folder) = plays("local::local_busy") else {
        return;
    };
    let driver = machine("local_busy", &folder).unwrap();
    let mut config = config(&folder.join("service"));
    config.concurrency = 1;
    let engine = Engine::open(config, driver).await.unwrap();
    let running = submit(&engine, "import time\nprint('begun', flush=True)\ntime.sleep(600)").await;
    engine.run(&running).await.unwrap();
    until("its output is kept", || async {
        let kept = read_all(&engine, &running, 0, Follow::Stored).await;
        kept.ends_with(b"\n").then_some(())
    })
    .await;
    let queued = submit(&engine, "print('after')").await;
    engine.run(&queued).await.unwrap();
    say(&format!("{running} {queued}"));
    tokio::time::sleep(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sandboxes_die_with_a_killed_service_and_the_next_one_reports_it() {
    let root = tempfile::tempdir().unwrap();
    let test = "sandboxes_die_with_a_killed_service_and_the_next_one_reports_it";
    let Some(driver) = machine(test, root.path()) else {
        return;
    };
    let mut child = play("local::local_busy", root.path());
    let line = lines(child.stdout.take().unwrap()).next().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let ids: Vec<TaskId> = line.split(' ').map(|id| TaskId::parse(id).unwrap()).collect();
    let engine = open(&root.path().join("service"), &driver).await;
    let view = reaches(&engine, &ids[0], StateName::Ended).await;
    assert_eq!(view.failure.unwrap().kind, FailureKind::Evicted);
    assert_eq!(read_all(&engine, &ids[0], 0, Follow::Stored).await, b"begun\n");
    let view = reaches(&engine, &ids[1], StateName::Ended).await;
    assert_eq!(view.output.stdout, "after\n");
    engine.shutdown(Duration::from_secs(5)).await;
}
