//! Storage stays within its budget of bytes, and tasks that nobody runs are deleted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hybrid_cache_model::{TaskSpec, Tenant};
use hybrid_cache_service::store::sqlite::{Connection, OpenMode};
use hybrid_cache_service::{Clock, Engine, ListQuery, Parts, ServiceConfig, ServiceError, StateName, TaskId};

use crate::bench::{Bench, Jumping, LOOK, config, reaches, submit, until};
use crate::scripted::Scripted;

const HOUR_US: i64 = 3_600_000_000;

fn output_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder.join("output")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

async fn listed(engine: &Engine) -> Vec<String> {
    let query = ListQuery {
        limit: Some(200),
        ..ListQuery::default()
    };
    let page = engine.list(&query).await.unwrap();
    page.items.into_iter().rev().map(|task| task.id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_beyond_the_budget_deletes_only_the_oldest_tasks() {
    const BUDGET: u64 = 2 << 20;
    let bench = Bench::with(Scripted::independent(), |config| {
        config.retention.bytes = Some(BUDGET);
        config.retention.every = LOOK;
        config.concurrency = 1;
    })
    .await;
    let saved = bench.submit("exit 0").await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        // Some 220 KB each.
        let id = bench.start("burst 20000").await;
        bench.reaches(&id, StateName::Ended).await;
        ids.push(id.to_string());
    }
    until("it fits", || async {
        (output_bytes(bench.root.path()) < BUDGET).then_some(())
    })
    .await;
    let left = listed(&bench.engine).await;
    assert_eq!(left[0], saved.to_string());
    let kept = left.len() - 1;
    // The database takes its share.
    assert!((4..10).contains(&kept), "{kept}");
    assert_eq!(left[1..], ids[30 - kept..]);
    assert_eq!(bench.engine.metrics().expired, 30 - kept as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_fills_the_budget_loses_only_its_own_tasks() {
    let bench = Bench::with(Scripted::independent(), |config| {
        config.retention.bytes = Some(2 << 20);
        config.retention.every = LOOK;
    })
    .await;
    let other = bench.engine.for_tenant(&"modest".parse::<Tenant>().unwrap());
    let modest = submit(&other, "burst 20000").await;
    other.run(&modest).await.unwrap();
    reaches(&other, &modest, StateName::Ended).await;
    for _ in 0..20 {
        let id = bench.start("burst 20000").await;
        bench.reaches(&id, StateName::Ended).await;
    }
    until("it fits", || async {
        (output_bytes(bench.root.path()) < 2 << 20).then_some(())
    })
    .await;
    assert_eq!(listed(&other).await, [modest.to_string()]);
}

async fn with_clock(root: &Path, change: impl FnOnce(&mut ServiceConfig)) -> (Engine, Arc<Jumping>) {
    let clock = Arc::new(Jumping(AtomicI64::new(500_000 * HOUR_US)));
    let mut config = config(root);
    config.retention.every = LOOK;
    change(&mut config);
    let parts = Parts {
        driver: Arc::new(Scripted::independent()),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        volumes: None,
    };
    (Engine::open_with(config, parts).await.unwrap(), clock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saved_tasks_expire_and_make_room_for_new_ones() {
    let root = tempfile::tempdir().unwrap();
    let (engine, clock) = with_clock(root.path(), |config| config.open_tasks = 500).await;
    let spec = TaskSpec::new("exit 0");
    engine.submit(&spec, Some("again")).await.unwrap();
    for _ in 1..500 {
        engine.submit(&spec, None).await.unwrap();
    }
    let refused = engine.submit(&spec, None).await.unwrap_err();
    assert!(matches!(refused, ServiceError::TooMany { .. }), "{refused}");
    assert_eq!(engine.metrics().expired, 0);
    clock.0.fetch_add(2 * HOUR_US, Ordering::SeqCst);
    // For a crowd, one hour is enough: the earlier ones are gone, as far as they are a crowd.
    until("there is room", || async { engine.submit(&spec, None).await.ok() }).await;
    clock.0.fetch_add(25 * HOUR_US, Ordering::SeqCst);
    until("all are gone", || async {
        listed(&engine).await.is_empty().then_some(())
    })
    .await;
    let again = engine.submit(&spec, Some("again")).await.unwrap();
    assert_eq!(again.novelty, hybrid_cache_service::Novelty::New);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saved_tasks_of_a_clock_that_was_ahead_grow_old_like_others() {
    // With and without later ones behind them: where none are taken any more, none come.
    for behind in [5, 0] {
        let root = tempfile::tempdir().unwrap();
        let (engine, clock) = with_clock(root.path(), |config| config.open_tasks = 130 + behind).await;
        clock.0.fetch_add(10_000 * HOUR_US, Ordering::SeqCst);
        let mut ahead = Vec::new();
        for _ in 0..130 {
            ahead.push(submit(&engine, "exit 0").await);
        }
        let created = async || engine.get(&ahead[0]).await.unwrap().summary.created_at;
        let before = created().await;
        clock.0.fetch_sub(10_000 * HOUR_US, Ordering::SeqCst);
        for _ in 0..behind {
            submit(&engine, "exit 0").await;
        }
        until("it was noticed", || async { (created().await < before).then_some(()) }).await;
        assert_eq!(engine.metrics().expired, 0);
        clock.0.fetch_add(25 * HOUR_US, Ordering::SeqCst);
        until("all are gone", || async {
            listed(&engine).await.is_empty().then_some(())
        })
        .await;
        submit(&engine, "exit 0").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_forward_by_mistake_and_back_deletes_nothing() {
    let root = tempfile::tempdir().unwrap();
    // The time to set it back is three seconds.
    let (engine, clock) = with_clock(root.path(), |config| config.retention.every = LOOK * 10).await;
    let saved = submit(&engine, "exit 0").await;
    let ended = submit(&engine, "exit 0").await;
    engine.run(&ended).await.unwrap();
    reaches(&engine, &ended, StateName::Ended).await;
    tokio::time::sleep(LOOK * 30).await;
    clock.0.fetch_add(10_000 * HOUR_US, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    clock.0.fetch_sub(10_000 * HOUR_US, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(engine.metrics().expired, 0);
    assert_eq!(listed(&engine).await, [saved.to_string(), ended.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_could_not_be_deleted_with_its_task_is_deleted_later() {
    let bench = Bench::with(Scripted::independent(), |config| config.retention.every = LOOK).await;
    let id = bench.start("burst 2000").await;
    bench.reaches(&id, StateName::Ended).await;
    let file = bench.root.path().join(format!("output/{id}.log"));
    let aside = bench.root.path().join("aside");
    // A folder cannot be unlinked, whoever tries.
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    bench.engine.delete(&id).await.unwrap();
    tokio::time::sleep(LOOK * 10).await;
    // It exists at all times; otherwise it would look as if it were gone.
    let (here, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
    rustix::fs::renameat_with(here, &aside, here, &file, flags).unwrap();
    until("it is gone", || async { (!file.exists()).then_some(()) }).await;
    until("it is not counted", || async {
        (bench.engine.metrics().footprint.output_bytes == 0).then_some(())
    })
    .await;
}

/// Bytes of the database's file.
fn database_bytes(root: &Path) -> u64 {
    std::fs::metadata(root.join("tasks.sqlite3")).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_saved_tasks_are_refused_within_the_budget_until_retry_after() {
    const BUDGET: u64 = 8 << 20;
    let root = tempfile::tempdir().unwrap();
    let (engine, clock) = with_clock(root.path(), |config| config.retention.bytes = Some(BUDGET)).await;
    let modest = engine.for_tenant(&"modest".parse::<Tenant>().unwrap());
    let result = submit(&modest, "burst 2000").await;
    modest.run(&result).await.unwrap();
    reaches(&modest, &result, StateName::Ended).await;

    let large = TaskSpec::new("x".repeat(60_000));
    let mut taken = 0;
    let refused = loop {
        match engine.submit(&large, None).await {
            Ok(_) => taken += 1,
            Err(refused) => break refused,
        }
        // More than the budget: today's service would go on until the disk is full.
        assert!(taken < 200, "{taken} were taken");
        clock.0.fetch_add(1_000_000, Ordering::SeqCst);
    };
    assert!((50..=72).contains(&taken), "{taken}");
    assert!(refused.to_string().contains("saved tasks take"), "{refused}");
    assert!(database_bytes(root.path()) < BUDGET);
    // The first of them is a minute old.
    let reported = refused.retry_after().unwrap();
    assert!((3400..3600).contains(&reported.as_secs()), "{reported:?}");

    // Whoever runs or deletes a task may submit again at once.
    let first = listed(&engine).await[0].parse_id();
    engine.delete(&first).await.unwrap();
    engine.submit(&large, None).await.unwrap();
    engine.submit(&large, None).await.unwrap_err();
    // Others have a share of their own, and keep their results.
    modest.submit(&large, None).await.unwrap();
    assert!(modest.get(&result).await.is_ok());

    let reported = i64::try_from(reported.as_micros()).unwrap();
    clock.0.fetch_add(reported, Ordering::SeqCst);
    until("the first ones are forgotten", || async {
        clock.0.fetch_add(1_000_000, Ordering::SeqCst);
        engine.submit(&large, None).await.ok()
    })
    .await;
    assert!(modest.get(&result).await.is_ok());
    assert!(database_bytes(root.path()) < BUDGET);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_service_counts_saved_bytes_alike() {
    let root = tempfile::tempdir().unwrap();
    let change = |config: &mut ServiceConfig| config.retention.bytes = Some(2 << 20);
    let large = TaskSpec::new("x".repeat(60_000));
    let full = async |engine: &Engine| {
        let mut taken = 0;
        while engine.submit(&large, None).await.is_ok() {
            taken += 1;
            assert!(taken < 100);
        }
        taken
    };
    let (engine, _) = with_clock(root.path(), change).await;
    assert!(full(&engine).await > 10);
    let ids = listed(&engine).await;
    engine.cancel(&ids[0].parse_id()).await.unwrap();
    engine.run(&ids[1].parse_id()).await.unwrap();
    engine.shutdown(Duration::from_secs(20)).await;
    drop(engine);
    let (engine, _) = with_clock(root.path(), change).await;
    assert_eq!(full(&engine).await, 2);
    engine.shutdown(Duration::ZERO).await;
}

/// A day of clients that submit and never run. By name: `cargo test --release … -- --ignored --nocapture hundred_thousand`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; see its comment"]
async fn a_hundred_thousand_saved_tasks_leave_room_after_an_hour() {
    let root = tempfile::tempdir().unwrap();
    let (engine, clock) = with_clock(root.path(), |_| {}).await;
    let spec = TaskSpec::new("print(1)");
    for _ in 0..200 {
        let submits = (0..500).map(|_| engine.submit(&spec, None));
        for submitted in futures_util::future::join_all(submits).await {
            submitted.unwrap();
        }
    }
    let refused = engine.submit(&spec, None).await.unwrap_err();
    let reported = refused.retry_after().unwrap();
    println!("{} bytes of database; {refused}", database_bytes(root.path()));
    clock
        .0
        .fetch_add(i64::try_from(reported.as_micros()).unwrap(), Ordering::SeqCst);
    let began = std::time::Instant::now();
    until("there is room", || async { engine.submit(&spec, None).await.ok() }).await;
    println!("room after {:?}", began.elapsed());
    engine.shutdown(Duration::ZERO).await;
}

/// A listed id as the engine wants it.
trait ParseId {
    fn parse_id(&self) -> TaskId;
}

impl ParseId for String {
    fn parse_id(&self) -> TaskId {
        TaskId::parse(self).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_returns_the_pages_of_deleted_tasks() {
    let root = tempfile::tempdir().unwrap();
    let (engine, clock) = with_clock(root.path(), |_| {}).await;
    let large = TaskSpec::new("x".repeat(60_000));
    for _ in 0..300 {
        engine.submit(&large, None).await.unwrap();
    }
    let pages = || {
        let path = root.path().join("tasks.sqlite3");
        let sql = Connection::open(&path, OpenMode::Read, Duration::from_secs(5)).unwrap();
        sql.first("PRAGMA page_count", &[], |row| row.integer(0))
            .unwrap()
            .unwrap()
    };
    let most = pages();
    assert!(most > 300 * 15, "{most}");
    clock.0.fetch_add(30 * HOUR_US, Ordering::SeqCst);
    until("the file has shrunk", || async { (pages() < most / 3).then_some(()) }).await;
    engine.shutdown(Duration::ZERO).await;
    let size = std::fs::metadata(root.path().join("tasks.sqlite3")).unwrap().len();
    assert!(size < 6 << 20, "{size}");
}
