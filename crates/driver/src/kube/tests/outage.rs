//! Outages of the API server, and a full quota: no task is lost, fails because of it, or runs twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_model::pod::PodMaintenanceCommand;
use hybrid_cache_model::{End, Outcome, TaskSpec};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::kube::config::KubeConfig;
use crate::kube::config::tests::config;
use crate::kube::driver::{KUBE, KubeDriver};
use crate::kube::names::Attempt;
use crate::kube::tests::double::{Double, Mode, NO_ROOM, PodLog};
use crate::{Driver, DriverError, Epoch, SubmitOptions, Ticket};

const MINUTE: Duration = Duration::from_secs(60);
/// How long a service lets one call of a driver take.
const CALL: Duration = Duration::from_secs(30);

fn finished(_: &str) -> Value {
    let nothing = json!({"written_bytes": 0, "passed_bytes": 0});
    json!({
        "report": "finished", "end": "exited", "code": 0, "timeline": {"total_us": 1, "spans": []}, "stdout": nothing, "stderr": nothing,
        "cache": {"python": {"status": "not_asked"}, "system": {"status": "not_asked"}}, "resolved": {},
    })
}

async fn driver(cluster: &Double) -> Arc<KubeDriver> {
    let config = KubeConfig {
        ttl_s: 86_400,
        ..config()
    };
    Arc::new(KubeDriver::open(cluster.client(), config).await.unwrap())
}

/// Submits a task as the service does: by calls with a time limit, and it may query the task in between.
async fn submit(driver: &KubeDriver, id: &str) -> Ticket {
    let options = SubmitOptions {
        id: Some(id.to_owned()),
        ..SubmitOptions::default()
    };
    let known = Ticket {
        driver: KUBE.to_owned(),
        id: id.to_owned(),
    };
    loop {
        match timeout(CALL, driver.submit(&TaskSpec::new("print(1)"), &options)).await {
            Ok(Ok(ticket)) => return ticket,
            Ok(Err(DriverError::Failed(failure) | DriverError::NotStarted(failure))) => {
                let passes = [
                    hybrid_cache_model::FailureKind::Cluster,
                    hybrid_cache_model::FailureKind::Unschedulable,
                ];
                assert!(passes.contains(&failure.kind), "{failure}");
            }
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => drop(driver.logs(&known)),
        }
        sleep(Duration::from_secs(5)).await;
    }
}

async fn wait(driver: &KubeDriver, ticket: &Ticket) -> Outcome {
    loop {
        match driver.wait(ticket).await {
            Ok(outcome) => return outcome,
            Err(DriverError::Failed(_)) => sleep(Duration::from_secs(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn submit_and_wait(driver: Arc<KubeDriver>, id: String) -> Outcome {
    let ticket = submit(&driver, &id).await;
    let outcome = wait(&driver, &ticket).await;
    driver.forget(&ticket);
    outcome
}

fn good(outcome: &Outcome) {
    assert_eq!(outcome.end, End::Exited { code: 0 }, "{outcome:?}");
}

/// Each task was created once and ran once.
fn each_ran_once(cluster: &Double, count: usize) {
    let unique = |names: Vec<String>| (names.len(), names.into_iter().collect::<BTreeSet<_>>().len());
    assert_eq!(unique(cluster.made()), (count, count));
    assert_eq!(unique(cluster.ran()), (count, count));
}

#[tokio::test(start_paused = true)]
async fn tasks_that_are_submitted_in_an_outage_wait_for_its_end_and_run_once() {
    for mode in [Mode::Silent, Mode::Refuses] {
        let cluster = Double::new(Duration::from_secs(1), finished);
        let driver = driver(&cluster).await;
        sleep(Duration::from_secs(1)).await;
        cluster.set(mode);
        let tasks: Vec<_> = (0..40)
            .map(|number| tokio::spawn(submit_and_wait(Arc::clone(&driver), format!("task-{number}"))))
            .collect();
        sleep(MINUTE * 20).await;
        assert_eq!(cluster.made(), Vec::<String>::new());
        if mode == Mode::Refuses {
            cluster.set(Mode::Forbids);
            sleep(Duration::from_secs(20)).await;
        }
        cluster.set(Mode::Answers);
        for task in tasks {
            good(&timeout(MINUTE * 10, task).await.unwrap().unwrap());
        }
        each_ran_once(&cluster, 40);
    }
}

#[tokio::test(start_paused = true)]
async fn rights_that_are_missing_for_a_while_fail_no_task() {
    let cluster = Double::new(Duration::from_secs(1), finished);
    let driver = driver(&cluster).await;
    sleep(MINUTE * 5).await;
    cluster.set(Mode::Forbids);
    let tasks: Vec<_> = (0..4)
        .map(|number| tokio::spawn(submit_and_wait(Arc::clone(&driver), format!("task-{number}"))))
        .collect();
    sleep(MINUTE * 3).await;
    assert_eq!(cluster.made(), Vec::<String>::new());
    cluster.set(Mode::Answers);
    for task in tasks {
        good(&timeout(MINUTE * 10, task).await.unwrap().unwrap());
    }
    each_ran_once(&cluster, 4);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_runs_when_the_outage_begins_is_collected_after_it() {
    for mode in [Mode::Silent, Mode::Refuses] {
        // One ends in the outage, and one after it.
        for runs in [Duration::from_secs(10), MINUTE * 31] {
            let cluster = Double::new(runs, finished);
            let driver = driver(&cluster).await;
            let ticket = submit(&driver, "task-a").await;
            sleep(Duration::from_secs(2)).await;
            cluster.set(mode);
            let waiting = tokio::spawn({
                let driver = Arc::clone(&driver);
                async move { wait(&driver, &ticket).await }
            });
            sleep(MINUTE * 30).await;
            assert!(!waiting.is_finished());
            cluster.set(Mode::Answers);
            good(&timeout(MINUTE * 5, waiting).await.unwrap().unwrap());
            assert!(
                driver.unseen() > MINUTE * 29 && driver.unseen() < MINUTE * 31,
                "{:?}",
                driver.unseen()
            );
            each_ran_once(&cluster, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_to_start_begins_again_after_an_outage() {
    let cluster = Double::new(Duration::from_secs(1), finished);
    let driver = driver(&cluster).await;
    let start = Duration::from_secs(config().start_s);
    cluster.start_after(start + MINUTE * 2);
    let slow = submit(&driver, "task-a").await;
    let outcome = wait(&driver, &slow).await;
    let End::Failed { failure } = &outcome.end else {
        panic!("{outcome:?}")
    };
    assert_eq!(failure.kind, hybrid_cache_model::FailureKind::Deadline, "{failure}");
    let ticket = submit(&driver, "task-b").await;
    sleep(start - MINUTE / 2).await;
    cluster.set(Mode::Silent);
    sleep(MINUTE).await;
    cluster.set(Mode::Answers);
    good(&timeout(MINUTE * 10, wait(&driver, &ticket)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_misses_in_an_outage_is_prepared_after_it() {
    let miss = |name: &str| match name.strip_suffix("-p") {
        Some(_) => finished(name),
        None => {
            json!({"report": "missed", "missed": {"python": true, "python_stale": false, "system": false}, "timeline": {"total_us": 1, "spans": []}})
        }
    };
    let cluster = Double::new(Duration::from_secs(10), miss);
    let driver = driver(&cluster).await;
    let ticket = submit(&driver, "task-a").await;
    sleep(Duration::from_secs(2)).await;
    cluster.set(Mode::Refuses);
    sleep(MINUTE * 30).await;
    cluster.set(Mode::Answers);
    sleep(MINUTE).await;
    // It is made, and the next outage begins.
    cluster.set(Mode::Silent);
    sleep(MINUTE * 30).await;
    cluster.set(Mode::Answers);
    good(&timeout(MINUTE * 5, wait(&driver, &ticket)).await.unwrap());
    assert_eq!(cluster.made(), ["task-a", "task-a-p"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_task_ends_after_the_outage_and_an_unknown_one_stays_unknown() {
    let cluster = Double::new(MINUTE * 600, finished);
    let driver = driver(&cluster).await;
    let ticket = submit(&driver, "task-a").await;
    cluster.set(Mode::Silent);
    driver.cancel(&ticket).await.unwrap();
    sleep(MINUTE * 10).await;
    cluster.set(Mode::Answers);
    let outcome = timeout(MINUTE * 5, wait(&driver, &ticket)).await.unwrap();
    assert_eq!(outcome.end, End::Cancelled);
    assert!(cluster.there("jobs").is_empty());
    let unknown = Ticket {
        driver: KUBE.to_owned(),
        id: "task-b".to_owned(),
    };
    let error = timeout(MINUTE, driver.wait(&unknown)).await.unwrap().unwrap_err();
    assert!(matches!(error, DriverError::UnknownTicket(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn tasks_wait_while_a_quota_is_full_and_ended_tasks_make_room_at_once() {
    let cluster = Double::new(Duration::from_secs(1), finished);
    cluster.allow_jobs(3);
    let driver = driver(&cluster).await;
    let tasks: Vec<_> = (0..20)
        .map(|number| tokio::spawn(submit_and_wait(Arc::clone(&driver), format!("task-{number}"))))
        .collect();
    for task in tasks {
        good(&timeout(MINUTE * 10, task).await.unwrap().unwrap());
    }
    each_ran_once(&cluster, 20);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.there("jobs"), Vec::<String>::new());
    // One that no end of others gives room is refused for good.
    cluster.allow_jobs(0);
    let ticket = driver
        .submit(&TaskSpec::new("print(1)"), &SubmitOptions::default())
        .await
        .unwrap();
    let outcome = wait(&driver, &ticket).await;
    let End::Failed { failure } = &outcome.end else {
        panic!("{outcome:?}")
    };
    assert!(failure.message.contains("exceeded quota"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_room_is_reported_and_an_outage_in_it_is_not_counted_twice() {
    let cluster = Double::new(MINUTE * 10, finished);
    cluster.be_full_for(MINUTE * 90);
    let driver = driver(&cluster).await;
    let ticket = submit(&driver, "task-a").await;
    sleep(MINUTE * 60).await;
    let room = format!("no room in the cluster: {NO_ROOM}");
    assert_eq!(driver.waits(&ticket), Some(room));
    let near = |time: Duration, minutes: u32| time.abs_diff(MINUTE * minutes) < MINUTE;
    let waited = driver.waited(&ticket);
    assert!(near(waited, 60), "{waited:?}");
    cluster.set(Mode::Silent);
    sleep(MINUTE * 20).await;
    cluster.set(Mode::Answers);
    sleep(MINUTE * 15).await;
    // It has had its place for five minutes.
    let (waited, unseen) = (driver.waited(&ticket), driver.unseen());
    assert!(near(waited, 70) && near(unseen, 20), "{waited:?} {unseen:?}");
    assert_eq!(driver.waits(&ticket), None);
    good(&timeout(MINUTE * 10, wait(&driver, &ticket)).await.unwrap());
    assert_eq!(driver.waited(&ticket), waited);
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_second_workload_waits_for_the_quota_is_not_seen_meanwhile_and_can_be_cancelled() {
    let missed = |_: &str| json!({"report": "missed", "missed": {"python": true, "python_stale": false, "system": false}, "timeline": {"total_us": 1, "spans": []}});
    let cluster = Double::new(Duration::from_secs(10), missed);
    let driver = driver(&cluster).await;
    let ticket = submit(&driver, "task-a").await;
    cluster.allow_jobs(1);
    sleep(MINUTE * 60).await;
    let waited = driver.waited(&ticket);
    assert!(waited.abs_diff(MINUTE * 60) < MINUTE, "{waited:?}");
    assert_eq!(cluster.made(), ["task-a"]);
    driver.cancel(&ticket).await.unwrap();
    let outcome = timeout(MINUTE, wait(&driver, &ticket)).await.unwrap();
    assert_eq!(outcome.end, End::Cancelled);
    sleep(MINUTE).await;
    assert_eq!(cluster.made(), ["task-a"]);
}

#[tokio::test(start_paused = true)]
async fn output_after_a_silently_broken_log_connection_is_requested_again() {
    const TEXT: &str = "a line\nanother line\n";
    let prints = |name: &str| {
        let mut report = finished(name);
        report["stdout"] = json!({"written_bytes": TEXT.len(), "passed_bytes": TEXT.len()});
        report
    };
    for (lost, sent) in [(1, Some(3)), (1, Some(0)), (1, None), (2, Some(3)), (2, None)] {
        let cluster = Double::new(Duration::from_secs(5), prints);
        let text = TEXT.to_owned();
        cluster.print(PodLog { text, lost, sent });
        let driver = driver(&cluster).await;
        let ticket = submit(&driver, "task-a").await;
        let outcome = timeout(MINUTE * 3, wait(&driver, &ticket)).await.unwrap();
        good(&outcome);
        let printed = driver.logs(&ticket).unwrap().collect(crate::log::Stream::Stdout);
        assert_eq!(String::from_utf8_lossy(&printed), TEXT, "{lost} {sent:?}");
        assert_eq!(outcome.warnings, Vec::<String>::new(), "{lost} {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_maintenance_job_is_deleted_once_nobody_waits_for_its_answer() {
    let cluster = Double::new(MINUTE * 10, |_| json!({"answer": "done"}));
    let driver = driver(&cluster).await;
    for _ in 0..3 {
        let asked = driver.maintain(&Epoch::Standing, PodMaintenanceCommand::Usage);
        timeout(CALL, asked).await.unwrap_err();
    }
    assert_eq!(cluster.made().len(), 3);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.there("jobs"), Vec::<String>::new());
}

/// Runs a task of a tenant as a service with many of them does.
async fn run_of(driver: Arc<KubeDriver>, tenant: &str, id: String) {
    let room = driver.room().await;
    let mut spec = TaskSpec::new("print(1)");
    spec.dependencies = "numpy".to_owned();
    let options = SubmitOptions {
        id: Some(id),
        tenant: tenant.parse().unwrap(),
        ..SubmitOptions::default()
    };
    let ticket = driver.submit(&spec, &options).await.unwrap();
    drop(room);
    good(&wait(&driver, &ticket).await);
}

#[tokio::test(start_paused = true)]
async fn new_tenants_whose_folders_take_long_hold_up_no_others() {
    let report = |name: &str| match name.starts_with("maintain") {
        true => json!({"answer": "done"}),
        false => finished(name),
    };
    let cluster = Double::new(Duration::from_secs(1), report);
    let driver = driver(&cluster).await;
    cluster.be_full_for(MINUTE * 4);
    let slow: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|tenant| tokio::spawn(run_of(Arc::clone(&driver), tenant, format!("task-{tenant}"))))
        .collect();
    sleep(Duration::from_secs(1)).await;
    cluster.be_full_for(Duration::ZERO);
    for number in 0..5 {
        let other = run_of(Arc::clone(&driver), "e", format!("task-{number}"));
        timeout(MINUTE / 2, other).await.expect("others go on");
    }
    for task in slow {
        timeout(MINUTE * 6, task).await.unwrap().unwrap();
    }
    // Two tasks of one tenant ask once.
    let before = cluster.made().len();
    let both = ["task-f", "task-g"].map(|id| run_of(Arc::clone(&driver), "f", id.to_owned()));
    futures_util::future::join_all(both).await;
    assert_eq!(cluster.made().len() - before, 3);
}

#[tokio::test(start_paused = true)]
async fn a_few_failed_tasks_stay_for_people_to_look_at() {
    let broken = |_: &str| json!("no report");
    let cluster = Double::new(Duration::from_secs(1), broken);
    let driver = driver(&cluster).await;
    for number in 0..20 {
        let outcome = submit_and_wait(Arc::clone(&driver), format!("task-{number}")).await;
        assert!(matches!(outcome.end, End::Failed { .. }), "{outcome:?}");
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.there("jobs").len(), 16);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_nobody_has_submitted_before_is_not_looked_for() {
    let cluster = Double::new(Duration::from_secs(1), finished);
    let driver = driver(&cluster).await;
    sleep(Duration::from_secs(1)).await;
    let gets = async |id: &str, first: bool| {
        let before = cluster.asked().len();
        let options = SubmitOptions {
            id: Some(id.to_owned()),
            first,
            ..SubmitOptions::default()
        };
        let ticket = driver.submit(&TaskSpec::new("print(1)"), &options).await.unwrap();
        good(&wait(&driver, &ticket).await);
        let asked = cluster.asked().split_off(before);
        let of_jobs =
            |(verb, kind, name): &&(String, String, String)| verb == "GET" && kind == "jobs" && !name.is_empty();
        asked.iter().filter(of_jobs).count()
    };
    assert_eq!(gets("task-a", true).await, 0);
    assert_eq!(gets("task-b", false).await, Attempt::ALL.len());
    each_ran_once(&cluster, 2);
}

#[tokio::test(start_paused = true)]
async fn submitting_a_task_looks_at_no_other() {
    let cluster = Double::new(Duration::from_secs(1), finished);
    let driver = driver(&cluster).await;
    sleep(Duration::from_secs(1)).await;
    let before = cluster.asked().len();
    let ticket = submit(&driver, "task-a").await;
    good(&wait(&driver, &ticket).await);
    let asked = cluster.asked().split_off(before);
    let listed: Vec<_> = asked
        .iter()
        .filter(|(verb, _, name)| verb == "GET" && name.is_empty())
        .collect();
    assert_eq!(listed.len(), 0, "{asked:?}");
}
