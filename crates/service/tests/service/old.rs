//! What earlier versions left: a database without tenants, and files that others can read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use hybrid_cache_model::{TaskSpec, Tenant};
use hybrid_cache_service::store::sqlite::{Connection, OpenMode};
use hybrid_cache_service::{Follow, ListQuery, Novelty, StateName};

use crate::bench::{Bench, config, reaches, read_all};
use crate::scripted::Scripted;

const FIRST: &str = include_str!("../../src/store/migrations/0001.sql");

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A database of the first version, with a cancelled, a queued and a saved task.
fn make_old(folder: &Path) {
    let spec = serde_json::to_string(&TaskSpec::new("print kept")).unwrap();
    let sql = Connection::open(&folder.join("tasks.sqlite3"), OpenMode::Write, Duration::ZERO).unwrap();
    sql.batch("PRAGMA journal_mode = WAL").unwrap();
    sql.batch(&format!(
        "{FIRST}; PRAGMA application_id = {}; PRAGMA user_version = 1",
        0x6862_6374
    ))
    .unwrap();
    for (id, key) in [
        ("task-saved", "NULL, NULL"),
        ("task-queued", "'old-key', x'00'"),
        ("task-cancelled", "NULL, NULL"),
    ] {
        sql.batch(&format!(
            "INSERT INTO task (id, state, created_us, spec, idempotency_key, body_digest) VALUES ('{id}', 'saved', 1, '{spec}', {key})"
        ))
        .unwrap();
    }
    sql.batch("UPDATE task SET state = 'queued', queue_seq = 1, queued_us = 2 WHERE id = 'task-queued'")
        .unwrap();
    sql.batch("UPDATE task SET state = 'cancelled', ended_us = 3, end_kind = 'cancelled' WHERE id = 'task-cancelled'")
        .unwrap();
}

#[tokio::test]
async fn tasks_of_a_database_without_tenants_belong_to_default() {
    let root = tempfile::tempdir().unwrap();
    make_old(root.path());
    let mut settings = config(root.path());
    settings.retention.age = Duration::from_secs(100 * 365 * 24 * 3600);
    settings.retention.saved = settings.retention.age;
    let driver: std::sync::Arc<dyn hybrid_cache_driver::Driver> = std::sync::Arc::new(Scripted::independent());
    let engine = hybrid_cache_service::Engine::open(settings, driver).await.unwrap();
    // A small database is rewritten so that it can return free pages.
    let sql = Connection::open(&root.path().join("tasks.sqlite3"), OpenMode::Read, Duration::ZERO).unwrap();
    let gives_back = sql.first("PRAGMA auto_vacuum", &[], |row| row.integer(0)).unwrap();
    assert_eq!(gives_back, Some(2));
    drop(sql);
    let ids = |page: hybrid_cache_service::TaskList| {
        page.items
            .into_iter()
            .map(|task| task.id.to_string())
            .collect::<Vec<_>>()
    };
    let all = engine.list(&ListQuery::default()).await.unwrap();
    assert_eq!(ids(all), ["task-cancelled", "task-queued", "task-saved"]);
    let other = engine.for_tenant(&"other".parse::<Tenant>().unwrap());
    assert!(ids(other.list(&ListQuery::default()).await.unwrap()).is_empty());
    let queued = hybrid_cache_service::TaskId::parse("task-queued").unwrap();
    reaches(&engine, &queued, StateName::Ended).await;
    assert_eq!(read_all(&engine, &queued, 0, Follow::Stored).await, b"kept\n");
    // Its key still belongs to it, with another body here.
    let refused = engine.submit(&TaskSpec::new("x"), Some("old-key")).await.unwrap_err();
    assert_eq!(refused.code(), "idempotency_mismatch");
    let others = other.submit(&TaskSpec::new("x"), Some("old-key")).await.unwrap();
    assert_eq!(others.novelty, Novelty::New);
}

#[tokio::test]
async fn stored_files_are_private_to_their_owner() {
    let bench = Bench::new().await;
    let id = bench.start("print x").await;
    bench.reaches(&id, StateName::Ended).await;
    let folder = bench.root.path().to_owned();
    let output = folder.join("output");
    let file = output.join(format!("{id}.log"));
    let files = ["tasks.sqlite3", "tasks.sqlite3-wal", "tasks.sqlite3-shm", ".lock"].map(|name| folder.join(name));
    let check = |when: &str| {
        for path in [&folder, &output] {
            assert_eq!(mode(path), 0o700, "{when}: {}", path.display());
        }
        for path in files.iter().chain([&file]) {
            assert_eq!(mode(path), 0o600, "{when}: {}", path.display());
        }
    };
    check("made");
    bench.engine.shutdown(Duration::ZERO).await;
    // As a killed process leaves it.
    fs::write(&files[1], "").unwrap();
    for path in [&folder, &output] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    for path in files.iter().chain([&file]).filter(|path| path.exists()) {
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }
    let bench = bench.reopen().await;
    check("found open");
    drop(bench);
}
