//! Storage that is locked, damaged, foreign or newer, and a clock that jumps.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hybrid_cache_service::store::sqlite::{Connection, OpenMode};
use hybrid_cache_service::{Clock, Engine, ListQuery, OpenError, Parts, ServiceError, StateName};

use crate::bench::{Bench, Jumping, LOOK, config, lines, play, plays, reaches, say, submit, until};
use crate::scripted::Scripted;

const DATABASE: &str = "tasks.sqlite3";

async fn open(folder: &Path) -> Result<Engine, OpenError> {
    Engine::open(config(folder), Arc::new(Scripted::independent())).await
}

/// A service that was used and shut down.
async fn used() -> tempfile::TempDir {
    let bench = Bench::new().await;
    for _ in 0..50 {
        bench.submit(&format!("print {}", "x".repeat(2000))).await;
    }
    bench.engine.shutdown(Duration::ZERO).await;
    let Bench { engine, root, .. } = bench;
    drop(engine);
    until("the folder is let go of", || async {
        fs::File::open(root.path().join(".lock")).unwrap().try_lock().ok()
    })
    .await;
    root
}

/// Role: another program that holds the database's lock until its standard input ends.
#[test]
fn fault_locker() {
    let Some(folder) = plays("faults::fault_locker") else {
        return;
    };
    // The service may be writing at this moment.
    let connection = Connection::open(&folder.join(DATABASE), OpenMode::Write, Duration::from_secs(20)).unwrap();
    connection.batch("BEGIN IMMEDIATE").unwrap();
    say("locked");
    let mut rest = String::new();
    std::io::stdin().read_to_string(&mut rest).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_is_reported_and_works_again_after() {
    let bench = Bench::new().await;
    let kept = bench.submit("exit 0").await;
    let mut locker = play("faults::fault_locker", bench.root.path());
    assert_eq!(lines(locker.stdout.take().unwrap()).next().as_deref(), Some("locked"));
    let begun = std::time::Instant::now();
    let refused = bench
        .engine
        .submit(&hybrid_cache_model::TaskSpec::new("exit 0"), None)
        .await
        .unwrap_err();
    assert!(matches!(refused, ServiceError::StorageBusy { .. }), "{refused}");
    assert!(refused.to_string().contains("locked by another process"));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    // Reading goes on.
    assert_eq!(bench.engine.get(&kept).await.unwrap().summary.state, StateName::Saved);
    drop(locker.stdin.take());
    locker.wait().unwrap();
    let id = bench.start("exit 0").await;
    bench.reaches(&id, StateName::Ended).await;
    assert_eq!(bench.engine.list(&ListQuery::default()).await.unwrap().items.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_beyond_the_write_timeout_strands_no_task() {
    let bench = Bench::with(Scripted::independent(), |config| {
        config.backoff.first = Duration::from_secs(1);
        config.backoff.most = Duration::from_secs(1);
        config.busy = Duration::from_secs(20);
        config.store_call = Duration::from_millis(100);
    })
    .await;
    // Claimed, refused, and back in the queue: the next claim is a second away.
    bench.driver.away.store(true, Ordering::SeqCst);
    let id = bench.start("exit 0").await;
    until("it was tried", || async {
        (bench.driver.attempts.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    until("it is back", || async {
        let waits = bench.engine.get(&id).await.ok()?.summary.waiting_for;
        waits.map(|_| ())
    })
    .await;
    let mut locker = play("faults::fault_locker", bench.root.path());
    assert_eq!(lines(locker.stdout.take().unwrap()).next().as_deref(), Some("locked"));
    bench.driver.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    drop(locker.stdin.take());
    locker.wait().unwrap();
    bench.reaches(&id, StateName::Ended).await;
    assert_eq!(bench.driver.times_started(id.as_str()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_started_while_the_database_is_locked_shows_as_running_after() {
    let bench = Bench::with(Scripted::independent(), |config| {
        config.store_call = Duration::from_millis(100);
    })
    .await;
    *bench.driver.slow.lock().unwrap() = Duration::from_millis(1500);
    let id = bench.start("hold").await;
    until("the driver has it", || async {
        (bench.driver.times_started(id.as_str()) == 1).then_some(())
    })
    .await;
    let mut locker = play("faults::fault_locker", bench.root.path());
    assert_eq!(lines(locker.stdout.take().unwrap()).next().as_deref(), Some("locked"));
    tokio::time::sleep(Duration::from_millis(3000)).await;
    drop(locker.stdin.take());
    locker.wait().unwrap();
    bench.reaches(&id, StateName::Running).await;
    bench.engine.cancel(&id).await.unwrap();
    bench.reaches(&id, StateName::Cancelled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ends_while_the_database_is_locked_is_stored_after() {
    let bench = Bench::new().await;
    let id = bench.start("print done\nsleep 200").await;
    bench.reaches(&id, StateName::Running).await;
    let mut locker = play("faults::fault_locker", bench.root.path());
    assert_eq!(lines(locker.stdout.take().unwrap()).next().as_deref(), Some("locked"));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(bench.engine.get(&id).await.unwrap().summary.state, StateName::Running);
    drop(locker.stdin.take());
    locker.wait().unwrap();
    assert_eq!(bench.reaches(&id, StateName::Ended).await.summary.exit_code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_has_one_service() {
    let bench = Bench::new().await;
    let refused = open(bench.root.path()).await.err().unwrap();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_that_is_locked_is_refused_in_time() {
    let root = used().await;
    let locker = Connection::open(&root.path().join(DATABASE), OpenMode::Write, Duration::ZERO).unwrap();
    locker
        .batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; PRAGMA user_version = 1")
        .unwrap();
    let refused = open(root.path()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_refused_and_left_unchanged() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("no database", |bytes| *bytes = b"hello, this is text".repeat(300)),
        ("zeros in the middle", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 8192].fill(0);
        }),
        ("cut off", |bytes| bytes.truncate(bytes.len() / 2)),
        ("noise behind the first page", |bytes| {
            let end = bytes.len().min(40_000);
            for (at, byte) in bytes[4096..end].iter_mut().enumerate() {
                *byte ^= u8::try_from(at % 251).unwrap();
            }
        }),
    ];
    for (name, damage) in damages {
        let root = used().await;
        let file = root.path().join(DATABASE);
        let mut bytes = fs::read(&file).unwrap();
        damage(&mut bytes);
        fs::write(&file, &bytes).unwrap();
        let refused = open(root.path()).await.err().unwrap();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{name}: {refused}");
        let text = refused.to_string();
        assert!(
            text.contains("hint: the file is unchanged") && text.contains(DATABASE),
            "{text}"
        );
        assert!(fs::read(&file).unwrap() == bytes, "{name}: the file was changed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_or_newer_database_is_refused_and_left_unchanged() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join(DATABASE);
    let foreign = Connection::open(&file, OpenMode::Write, Duration::ZERO).unwrap();
    foreign.batch("CREATE TABLE recipe (name TEXT)").unwrap();
    drop(foreign);
    let before = fs::read(&file).unwrap();
    let refused = open(root.path()).await.err().unwrap();
    assert!(matches!(refused, OpenError::NotOurs { .. }), "{refused}");
    assert!(fs::read(&file).unwrap() == before);
    let root = used().await;
    let newer = Connection::open(&root.path().join(DATABASE), OpenMode::Write, Duration::ZERO).unwrap();
    newer.batch("PRAGMA user_version = 99").unwrap();
    drop(newer);
    let refused = open(root.path()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Newer { found: 99, .. }), "{refused}");
    // An empty file is a database to be.
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(DATABASE), "").unwrap();
    open(root.path()).await.unwrap();
}

#[tokio::test]
async fn the_database_itself_refuses_invalid_transitions() {
    let bench = Bench::new().await;
    let id = bench.start("exit 0").await;
    bench.reaches(&id, StateName::Ended).await;
    let sql = Connection::open(
        &bench.root.path().join(DATABASE),
        OpenMode::Write,
        Duration::from_secs(5),
    )
    .unwrap();
    for (statement, reported) in [
        ("UPDATE task SET state = 'queued'", "no such step"),
        ("UPDATE task SET state = 'running'", "no such step"),
        ("UPDATE task SET state = 'done'", "no such step"),
        ("UPDATE task SET outcome = NULL", "CHECK"),
        (
            "INSERT INTO task (id, state, created_us, spec, ended_us) VALUES ('task-x', 'cancelled', 0, '{}', 0)",
            "begins as saved",
        ),
    ] {
        let refused = sql.batch(statement).unwrap_err();
        assert!(refused.message.contains(reported), "{statement}: {refused}");
    }
    let steps = sql
        .query("SELECT before || ' ' || after FROM step ORDER BY 1", &[], |row| {
            row.text(0)
        })
        .unwrap();
    let expected = [
        "queued cancelled",
        "queued starting",
        "running cancelled",
        "running ended",
        "saved cancelled",
        "saved queued",
        "starting cancelled",
        "starting ended",
        "starting queued",
        "starting running",
    ];
    assert_eq!(steps, expected);
}

#[tokio::test]
async fn a_clock_that_goes_backwards_loses_and_reorders_nothing() {
    const HOUR_US: i64 = 3_600_000_000;
    let root = tempfile::tempdir().unwrap();
    let clock = Arc::new(Jumping(AtomicI64::new(500_000 * HOUR_US)));
    let driver = Arc::new(Scripted::independent());
    let mut config = config(root.path());
    config.concurrency = 1;
    config.retention.every = LOOK;
    config.retention.age = Duration::from_secs(3600);
    let parts = Parts {
        driver: Arc::clone(&driver) as Arc<dyn hybrid_cache_driver::Driver>,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        volumes: None,
    };
    let engine = Engine::open_with(config, parts).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        let id = submit(&engine, "exit 0").await;
        engine.run(&id).await.unwrap();
        ids.push(id);
        clock.0.fetch_sub(10 * HOUR_US, Ordering::SeqCst);
    }
    for id in &ids {
        reaches(&engine, id, StateName::Ended).await;
    }
    let listed = engine.list(&ListQuery::default()).await.unwrap().items;
    let listed: Vec<_> = listed.into_iter().rev().map(|summary| summary.id).collect();
    assert_eq!(listed, ids);
    let started: Vec<_> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(*driver.started.lock().unwrap(), started);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(engine.metrics().expired, 0);
    // And forwards: what is old by then is deleted, with its output.
    clock.0.fetch_add(200 * HOUR_US, Ordering::SeqCst);
    until("all are gone", || async {
        (engine.metrics().expired == 5).then_some(())
    })
    .await;
    assert!(engine.list(&ListQuery::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn only_ended_tasks_beyond_the_count_are_deleted_with_their_output() {
    let change = |config: &mut hybrid_cache_service::ServiceConfig| {
        config.retention.count = 3;
        config.retention.every = LOOK;
        config.retention.batch = 2;
    };
    let bench = Bench::with(Scripted::independent(), change).await;
    let saved = bench.submit("exit 0").await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(bench.start("print x").await);
    }
    until("seven are gone", || async {
        (bench.engine.metrics().expired == 7).then_some(())
    })
    .await;
    let listed = bench.engine.list(&ListQuery::default()).await.unwrap().items;
    let listed: Vec<_> = listed.into_iter().rev().map(|summary| summary.id).collect();
    assert_eq!(listed[0], saved);
    assert_eq!(listed.len(), 4);
    until("their output is gone", || async {
        let files = fs::read_dir(bench.root.path().join("output")).unwrap().count();
        (files == 3).then_some(())
    })
    .await;
    // What a killed service left behind is found by the next.
    fs::write(bench.root.path().join("output/task-orphan.log"), "").unwrap();
    bench.engine.shutdown(Duration::ZERO).await;
    let bench = bench.reopen().await;
    until("the orphan is gone", || async {
        (!bench.root.path().join("output/task-orphan.log").exists()).then_some(())
    })
    .await;
}
