//! A task from submit to its end, and every request out of order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_service::{CacheName, EndName};
use hybrid_cache_service::{CancelAnswer, Follow, ListQuery, Novelty, ServiceError, StateName, TaskId};

use crate::bench::{Bench, read_all, until};
use crate::scripted::Scripted;

#[tokio::test]
async fn a_task_is_stored_run_and_reported() {
    let bench = Bench::new().await;
    let id = bench.submit("print one\nerr two\nexit 3").await;
    let saved = bench.engine.get(&id).await.unwrap();
    assert_eq!(saved.summary.state, StateName::Saved);
    assert_eq!(bench.driver.attempts.load(Ordering::SeqCst), 0);
    bench.engine.run(&id).await.unwrap();
    let ended = bench.reaches(&id, StateName::Ended).await;
    assert_eq!(ended.summary.end, Some(EndName::Exited));
    assert_eq!(ended.summary.exit_code, Some(3));
    assert_eq!(ended.summary.cache.unwrap().python.status, CacheName::Hit);
    assert_eq!(
        (ended.output.stdout.as_str(), ended.output.stderr.as_str()),
        ("one\n", "two\n")
    );
    assert!(!ended.output.truncated);
    // What came after the end (publishing) is added to the outcome.
    until("the outcome is settled", || async {
        let spans = bench.engine.get(&id).await.unwrap().timeline.unwrap().spans;
        (spans.len() == 2).then_some(())
    })
    .await;
    // The driver may forget it now.
    until("the driver forgets", || async {
        (bench.driver.known() == 0).then_some(())
    })
    .await;
    let json = serde_json::to_value(&ended).unwrap();
    assert_eq!(json["exitCode"], 3);
    assert_eq!(json["request"]["pythonCode"], "print one\nerr two\nexit 3");
    assert_eq!(json["timeline"]["totalUs"], 1500);
}

#[tokio::test]
async fn running_twice_runs_once_and_returns_the_state() {
    let bench = Bench::new().await;
    let id = bench.start("hold").await;
    bench.reaches(&id, StateName::Running).await;
    assert_eq!(bench.engine.run(&id).await.unwrap().state, StateName::Running);
    assert_eq!(bench.engine.cancel(&id).await.unwrap(), CancelAnswer::Requested);
    bench.reaches(&id, StateName::Cancelled).await;
    let id = bench.start("exit 0").await;
    bench.reaches(&id, StateName::Ended).await;
    assert_eq!(bench.engine.run(&id).await.unwrap().state, StateName::Ended);
    assert_eq!(bench.driver.times_started(id.as_str()), 1);
}

#[tokio::test]
async fn cancel_in_every_state() {
    let bench = Bench::with(Scripted::independent(), |config| config.concurrency = 1).await;
    let engine = &bench.engine;
    let saved = bench.submit("exit 0").await;
    assert_eq!(engine.cancel(&saved).await.unwrap(), CancelAnswer::Cancelled);
    let refused = engine.run(&saved).await.unwrap_err();
    assert!(matches!(
        refused,
        ServiceError::Conflict {
            state: StateName::Cancelled,
            ..
        }
    ));
    let running = bench.start("print begun\nhold").await;
    bench.reaches(&running, StateName::Running).await;
    let queued = bench.start("exit 0").await;
    assert_eq!(engine.cancel(&queued).await.unwrap(), CancelAnswer::Cancelled);
    assert_eq!(engine.cancel(&running).await.unwrap(), CancelAnswer::Requested);
    let cancelled = bench.reaches(&running, StateName::Cancelled).await;
    assert_eq!(cancelled.summary.end, Some(EndName::Cancelled));
    assert_eq!(cancelled.output.stdout, "begun\n");
    assert!(!cancelled.summary.cancel_requested);
    let before = engine.cancel(&running).await.unwrap();
    assert_eq!(before, CancelAnswer::Before(StateName::Cancelled));
    let ended = bench.start("exit 0").await;
    bench.reaches(&ended, StateName::Ended).await;
    assert_eq!(
        engine.cancel(&ended).await.unwrap(),
        CancelAnswer::Before(StateName::Ended)
    );
    assert_eq!(engine.get(&ended).await.unwrap().summary.end, Some(EndName::Exited));
    assert_eq!(bench.driver.times_started(queued.as_str()), 0);
}

#[tokio::test]
async fn a_waiting_or_running_task_is_not_deleted() {
    let bench = Bench::with(Scripted::independent(), |config| config.concurrency = 1).await;
    let engine = &bench.engine;
    let running = bench.start("print x\nhold").await;
    bench.reaches(&running, StateName::Running).await;
    let queued = bench.start("exit 0").await;
    for id in [&running, &queued] {
        assert!(matches!(
            engine.delete(id).await.unwrap_err(),
            ServiceError::Conflict { .. }
        ));
    }
    engine.cancel(&running).await.unwrap();
    bench.reaches(&running, StateName::Cancelled).await;
    assert_eq!(read_all(engine, &running, 0, Follow::Stored).await, b"x\n");
    engine.delete(&running).await.unwrap();
    assert!(matches!(
        engine.get(&running).await.unwrap_err(),
        ServiceError::NotFound
    ));
    assert!(matches!(
        engine.delete(&running).await.unwrap_err(),
        ServiceError::NotFound
    ));
    assert!(!bench.root.path().join(format!("output/{running}.log")).exists());
    let saved = bench.submit("exit 0").await;
    engine.delete(&saved).await.unwrap();
}

#[tokio::test]
async fn an_unknown_task_is_not_found() {
    let bench = Bench::new().await;
    let id = TaskId::parse("task-abc123").unwrap();
    assert!(matches!(bench.engine.get(&id).await, Err(ServiceError::NotFound)));
    assert!(matches!(bench.engine.run(&id).await, Err(ServiceError::NotFound)));
    assert!(matches!(bench.engine.cancel(&id).await, Err(ServiceError::NotFound)));
    assert!(matches!(
        bench.engine.output(&id, 0, Follow::UntilEnd).await,
        Err(ServiceError::NotFound)
    ));
}

#[tokio::test]
async fn a_key_creates_one_task_as_long_as_that_is_stored() {
    let bench = Bench::new().await;
    let (one, other) = (TaskSpec::new("exit 0"), TaskSpec::new("exit 1"));
    let submit = |spec: TaskSpec| {
        let engine = bench.engine.clone();
        async move { engine.submit(&spec, Some("key-1")).await }
    };
    let at_once = futures_util::future::join_all((0..20).map(|_| submit(one.clone()))).await;
    let answers: Vec<_> = at_once.into_iter().map(Result::unwrap).collect();
    let id = answers[0].id.clone();
    assert!(answers.iter().all(|answer| answer.id == id));
    assert_eq!(
        answers.iter().filter(|answer| answer.novelty == Novelty::New).count(),
        1
    );
    assert!(matches!(
        submit(other.clone()).await,
        Err(ServiceError::IdempotencyMismatch)
    ));
    bench.engine.delete(&id).await.unwrap();
    assert_eq!(submit(other).await.unwrap().novelty, Novelty::New);
    for key in ["", "with space", &"k".repeat(256)] {
        let refused = bench.engine.submit(&one, Some(key)).await.unwrap_err();
        assert_eq!(refused.code(), "invalid_parameter");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_outlive_a_restart_until_the_task_starts_and_belong_to_its_key() {
    let bench = Bench::new().await;
    let with = |value: &str| {
        let mut spec = TaskSpec::new("exit 0");
        spec.secret_env.insert("TOKEN", value);
        spec
    };
    let id = bench.engine.submit(&with("hush"), Some("key")).await.unwrap().id;
    let other = bench.engine.submit(&with("other"), Some("key")).await;
    assert!(matches!(other, Err(ServiceError::IdempotencyMismatch)));
    bench.engine.shutdown(Duration::ZERO).await;
    let bench = bench.reopen().await;
    bench.engine.run(&id).await.unwrap();
    bench.reaches(&id, StateName::Ended).await;
    let got = bench.driver.specs.lock().unwrap()[0].clone();
    assert_eq!(got, with("hush"));
    // Now the value is deleted, and cannot be compared any longer.
    let again = bench.engine.submit(&with("other"), Some("key")).await.unwrap();
    assert_eq!((again.id, again.novelty), (id.clone(), Novelty::Repeated));
    assert_eq!(
        bench.engine.get(&id).await.unwrap().request,
        with("hush").without_secrets()
    );
    let kept = bench.engine.submit(&with("hush"), None).await.unwrap().id;
    bench.engine.cancel(&kept).await.unwrap();
    let path = bench.root.path().join("tasks.sqlite3");
    let sql = hybrid_cache_service::store::sqlite::Connection::open(
        &path,
        hybrid_cache_service::store::sqlite::OpenMode::Read,
        Duration::from_secs(5),
    )
    .unwrap();
    let left = sql
        .first("SELECT count(*) FROM task_secret", &[], |row| row.integer(0))
        .unwrap();
    assert_eq!(left, Some(0));
}

#[tokio::test]
async fn an_invalid_task_is_refused_with_its_field_and_not_stored() {
    let bench = Bench::with(Scripted::independent(), |config| config.code_bytes = 100).await;
    let bad = TaskSpec {
        requirements_file: "numpy\n-e .\n".into(),
        ..TaskSpec::new("exit 0")
    };
    let refused = bench.engine.submit(&bad, None).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.pointer()),
        ("invalid_task", Some("/requirementsFile"))
    );
    let refused = bench
        .engine
        .submit(&TaskSpec::new("#".repeat(101)), None)
        .await
        .unwrap_err();
    assert_eq!(refused.pointer(), Some("/pythonCode"));
    assert!(bench.engine.list(&ListQuery::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn the_queue_is_bounded_ordered_and_uses_every_slot() {
    let change = |config: &mut hybrid_cache_service::ServiceConfig| {
        config.concurrency = 2;
        config.queue = 5;
    };
    let bench = Bench::with(Scripted::independent(), change).await;
    let held = [bench.start("hold").await, bench.start("hold").await];
    for id in &held {
        bench.reaches(id, StateName::Running).await;
    }
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(bench.start("sleep 5").await);
    }
    let one_more = bench.submit("exit 0").await;
    let refused = bench.engine.run(&one_more).await.unwrap_err();
    assert!(
        matches!(refused, ServiceError::QueueFull { waiting: 5, .. }),
        "{refused}"
    );
    assert!(refused.retry_after().unwrap().as_secs() >= 1);
    assert_eq!(
        bench.engine.get(&one_more).await.unwrap().summary.state,
        StateName::Saved
    );
    assert_eq!(bench.engine.metrics().queue_depth, 5);
    for id in &held {
        bench.engine.cancel(id).await.unwrap();
    }
    for id in &waiting {
        bench.reaches(id, StateName::Ended).await;
    }
    let expected: Vec<_> = held.iter().chain(&waiting).map(ToString::to_string).collect();
    assert_eq!(*bench.driver.started.lock().unwrap(), expected);
    assert_eq!(bench.driver.most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn lists_are_paged_and_filtered_by_state() {
    let bench = Bench::new().await;
    let mut ids = Vec::new();
    for _ in 0..25 {
        ids.push(bench.submit("exit 0").await);
    }
    for id in &ids[..5] {
        bench.engine.run(id).await.unwrap();
        bench.reaches(id, StateName::Ended).await;
    }
    bench.engine.cancel(&ids[5]).await.unwrap();
    ids.reverse();
    let mut query = ListQuery {
        limit: Some(10),
        ..ListQuery::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = bench.engine.list(&query).await.unwrap();
        seen.extend(page.items.into_iter().map(|summary| summary.id));
        // Tasks submitted meanwhile come before the first page and shift nothing.
        bench.submit("exit 0").await;
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);
    let list = |states: &[StateName], end| {
        let query = ListQuery {
            states: states.to_vec(),
            end,
            ..ListQuery::default()
        };
        let engine = bench.engine.clone();
        async move {
            let items = engine.list(&query).await.unwrap().items;
            items.into_iter().map(|summary| summary.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(list(&[StateName::Ended], None).await, ids[20..]);
    assert_eq!(list(&[StateName::Ended, StateName::Cancelled], None).await, ids[19..]);
    assert_eq!(list(&[], Some(EndName::Exited)).await, ids[20..]);
    assert_eq!(list(&[StateName::Ended], Some(EndName::Cancelled)).await, []);
    assert_eq!(list(&[], Some(EndName::Cancelled)).await, ids[19..20]);
    assert_eq!(
        list(&[StateName::Cancelled], Some(EndName::Cancelled)).await,
        ids[19..20]
    );
    assert_eq!(
        list(&[StateName::Running, StateName::Cancelled], Some(EndName::Exited)).await,
        []
    );
    for (limit, cursor) in [(Some(0), None), (Some(201), None), (None, Some("nonsense".to_owned()))] {
        let query = ListQuery {
            limit,
            cursor,
            ..ListQuery::default()
        };
        assert_eq!(bench.engine.list(&query).await.unwrap_err().code(), "invalid_parameter");
    }
}

#[tokio::test]
async fn a_task_without_room_shows_what_it_waits_for() {
    let bench = Bench::new().await;
    let id = bench.start("hold").await;
    let reported = bench.reaches(&id, StateName::Running).await.summary;
    assert_eq!(reported.waiting_for, None);
    let full = Some("no room in the cluster: 0/1 nodes are available: 1 Insufficient cpu".to_owned());
    bench.driver.fill(full.as_deref());
    let reported = bench.engine.get(&id).await.unwrap().summary;
    assert_eq!(
        (reported.state, reported.waiting_for),
        (StateName::Running, full.clone())
    );
    let listed = bench.engine.list(&ListQuery::default()).await.unwrap().items;
    assert_eq!(listed[0].waiting_for, full);
    bench.engine.cancel(&id).await.unwrap();
    let reported = bench.reaches(&id, StateName::Cancelled).await.summary;
    assert_eq!(reported.waiting_for, None);
}

#[tokio::test]
async fn waiting_for_room_longer_than_every_limit_fails_no_task_and_running_longer_does() {
    const LIMIT: Duration = Duration::from_secs(2);
    let bench = Bench::with(Scripted::independent(), |config| {
        config.limits.time_ms = 1;
        config.prepare = Duration::ZERO;
        config.overdue = LIMIT;
    })
    .await;
    bench.driver.fill(Some("no room in the cluster"));
    let id = bench.start("sleep 4500").await;
    tokio::time::sleep(LIMIT * 2).await;
    let reported = bench.engine.get(&id).await.unwrap().summary;
    assert_eq!(reported.state, StateName::Running);
    assert_eq!(reported.waiting_for.as_deref(), Some("no room in the cluster"));
    bench.driver.fill(None);
    let ended = bench.reaches(&id, StateName::Ended).await;
    assert_eq!(ended.summary.exit_code, Some(0), "{ended:?}");
    let stuck = bench.start("hold").await;
    let ended = bench.reaches(&stuck, StateName::Ended).await;
    let failure = ended.failure.unwrap();
    assert!(failure.message.contains("long after its time limit"), "{failure:?}");
}

#[tokio::test]
async fn ended_tasks_are_counted_again_after_a_restart() {
    let bench = Bench::new().await;
    for code in ["exit 0", "exit 1"] {
        let id = bench.start(code).await;
        bench.reaches(&id, StateName::Ended).await;
    }
    // Counted right after it is stored.
    let before = until("both are counted", || async {
        let metrics = bench.engine.metrics();
        (metrics.ended[0] == (EndName::Exited, 2)).then_some(metrics)
    })
    .await;
    assert_eq!(before.python_cache[0], (CacheName::Hit, 2));
    assert_eq!((before.total.count(), before.total.sum_us()), (2, 3000));
    assert_eq!(before.submit.count(), 2);
    let rates = bench.engine.hit_rates(0, 3_600_000_000).await.unwrap();
    assert_eq!(
        rates.iter().map(|rate| (rate.hits, rate.misses)).collect::<Vec<_>>(),
        [(2, 0)]
    );
    bench.engine.shutdown(std::time::Duration::ZERO).await;
    let bench = bench.reopen().await;
    let after = bench.engine.metrics();
    assert_eq!(
        (after.ended, after.python_cache, after.total),
        (before.ended, before.python_cache, before.total)
    );
    assert_eq!(after.tasks, before.tasks);
}

#[tokio::test]
async fn a_task_that_its_driver_loses_ends_as_failed() {
    let bench = Bench::new().await;
    let id = bench.start("hold").await;
    bench.reaches(&id, StateName::Running).await;
    // The task is deleted from the driver.
    bench.driver.die();
    let ended = bench.reaches(&id, StateName::Ended).await;
    assert_eq!(ended.summary.end, Some(EndName::Failed));
    assert_eq!(ended.failure.unwrap().kind, FailureKind::Evicted);
    let driver = Arc::clone(&bench.driver);
    assert_eq!(driver.times_started(id.as_str()), 1);
}
