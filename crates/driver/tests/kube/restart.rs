//! Tasks that outlive the process that submitted them, and tickets of tasks that never were.

use std::time::Duration;

use hybrid_cache_driver::{Driver, DriverError, Ticket};
use hybrid_cache_model::{CacheStatus, End, TaskSpec};

use super::bench::{self, options, spec, wait, within};

#[tokio::test(flavor = "multi_thread")]
async fn another_process_adopts_a_running_task_and_an_ended_one() {
    let Some(bench) = bench::cluster("another_process_finds_a_task").await else {
        return;
    };
    let first = bench.driver().await;
    let code = "import time\nprint('begun', flush=True)\ntime.sleep(4)\nprint('done')";
    let ticket = first.submit(&TaskSpec::new(code), &options()).await.unwrap();
    within(first.logs(&ticket).unwrap().next()).await.expect("output");
    drop(first);
    let second = bench.driver().await;
    let ran = wait(&second, &ticket).await;
    ran.printed("begun\ndone\n");
    let third = bench.driver().await;
    let ran = wait(&third, &ticket).await;
    ran.printed("begun\ndone\n");
    assert!(ran.outcome.timeline.total_us >= ran.outcome.runner_us);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_found_by_its_log_is_waited_for_and_cancelled_as_any_other() {
    let Some(bench) = bench::cluster("a_task_found_by_its_log").await else {
        return;
    };
    let first = bench.driver().await;
    let code = "import time\nprint('begun', flush=True)\ntime.sleep(100)";
    let ticket = first.submit(&TaskSpec::new(code), &options()).await.unwrap();
    drop(first);
    let second = bench.driver().await;
    let chunk = within(second.logs(&ticket).unwrap().next()).await.expect("output");
    assert_eq!(chunk.bytes, b"begun\n");
    second.cancel(&ticket).await.unwrap();
    assert_eq!(wait(&second, &ticket).await.outcome.end, End::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_without_a_task_is_unknown_and_an_id_is_submitted_once() {
    let Some(bench) = bench::cluster("a_ticket_without_a_task").await else {
        return;
    };
    let driver = bench.driver().await;
    let ticket = Ticket {
        driver: "kube".to_owned(),
        id: "task-nobodyknows".to_owned(),
    };
    let error = within(driver.wait(&ticket)).await.unwrap_err();
    assert!(matches!(error, DriverError::UnknownTicket(_)), "{error}");
    assert_eq!(within(driver.logs(&ticket).unwrap().next()).await, None);
    let mut options = options();
    options.id = Some(format!(
        "own-{}-{}",
        std::process::id(),
        std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
    ));
    let one = driver.submit(&TaskSpec::new("print(1)"), &options).await.unwrap();
    let again = driver.submit(&TaskSpec::new("print(1)"), &options).await.unwrap();
    assert_eq!(one, again);
    wait(&driver, &one).await.printed("1\n");
    let other = bench.driver().await;
    assert_eq!(other.submit(&TaskSpec::new("print(1)"), &options).await.unwrap(), one);
    wait(&other, &one).await.printed("1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preparation_is_shown_and_outlives_the_process_that_asked_for_it() {
    let Some(bench) = bench::cluster("a_preparation_is_shown").await else {
        return;
    };
    let first = bench.driver().await;
    let epoch = within(first.fresh_epoch()).await.unwrap();
    let task = spec("import six; print(six.__name__)", "six", "");
    let ticket = first.submit(&task, &bench::on(&epoch)).await.unwrap();
    let mut preparing = first.preparing(&ticket).unwrap();
    let shown = tokio::time::timeout(Duration::from_secs(60), preparing.wait_for(Option::is_some)).await;
    assert!(shown.is_ok());
    drop(first);
    let second = bench.driver().await;
    let settled = within(second.settle(&ticket)).await.unwrap();
    assert!(matches!(settled.cache.python, CacheStatus::Built { .. }), "{settled:?}");
    within(second.discard_epoch(&epoch)).await.unwrap();
}
