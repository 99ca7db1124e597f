//! No room: for the database by its own bound, and for everything on a volume that is full.

use std::path::Path;
use std::sync::Arc;

use hybrid_cache_model::TaskSpec;
use hybrid_cache_service::{Engine, ListQuery, ServiceError, StateName, TaskId};

use crate::bench::{Bench, config, lines, play_behind, plays, reaches, say, until};
use crate::scripted::Scripted;

fn large() -> TaskSpec {
    TaskSpec::new(format!("print {}", "x".repeat(20_000)))
}

/// Submits until there is no room; the tasks that were accepted.
async fn fill(engine: &Engine) -> Vec<TaskId> {
    let mut ids = Vec::new();
    loop {
        match engine.submit(&large(), None).await {
            Ok(submitted) => ids.push(submitted.id),
            Err(error @ ServiceError::StorageFull { .. }) => {
                assert!(error.to_string().contains("make room"), "{error}");
                return ids;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(ids.len() < 2000, "it is never full");
    }
}

/// Everything accepted is there, nothing else is, and what is asked of it is answered.
async fn check(engine: &Engine, ids: &[TaskId]) {
    let query = ListQuery {
        limit: Some(200),
        ..ListQuery::default()
    };
    let listed = engine.list(&query).await.unwrap().items;
    let listed: Vec<_> = listed.into_iter().rev().map(|summary| summary.id).collect();
    assert_eq!(listed, ids);
    // Many at once are refused one by one.
    let refused = futures_util::future::join_all((0..20).map(|_| async { engine.submit(&large(), None).await }));
    for answer in refused.await {
        assert!(matches!(answer, Err(ServiceError::StorageFull { .. })), "{answer:?}");
    }
    let ready = engine.ready().await;
    assert!(!ready.ready && ready.reason.is_some(), "{ready:?}");
}

/// It says so again once there is room.
async fn becomes_ready(engine: &Engine) {
    until("it is ready", || async { engine.ready().await.ready.then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_at_its_bound_refuses_and_takes_again_once_there_is_room() {
    let bench = Bench::with(Scripted::independent(), |config| config.database_bytes = Some(1 << 20)).await;
    let ids = fill(&bench.engine).await;
    assert!(ids.len() > 20, "{}", ids.len());
    check(&bench.engine, &ids).await;
    for id in &ids[..10] {
        bench.engine.delete(id).await.unwrap();
    }
    becomes_ready(&bench.engine).await;
    let id = bench.engine.submit(&large(), None).await.unwrap().id;
    bench.engine.run(&id).await.unwrap();
    bench.reaches(&id, StateName::Ended).await;
}

/// Role: a service on a volume with a megabyte and a half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_volume() {
    let Some(folder) = plays("full::full_volume") else {
        return;
    };
    let driver = Arc::new(Scripted::independent());
    let mut config = config(&folder);
    // What saved tasks may take by default is a part of the volume, and would end this before the volume is full.
    config.retention.bytes = Some(1 << 30);
    let engine = Engine::open(config, driver).await.unwrap();
    let ids = fill(&engine).await;
    check(&engine, &ids).await;
    say(&format!("full {}", ids.len()));
    // Reading and what was accepted are not touched by it; with room, all goes on.
    grow(&folder);
    becomes_ready(&engine).await;
    let id = engine.submit(&large(), None).await.unwrap().id;
    engine.run(&id).await.unwrap();
    let ended = reaches(&engine, &id, StateName::Ended).await;
    assert_eq!(ended.output.stdout.len(), 20_001);
    engine.run(&ids[0]).await.unwrap();
    reaches(&engine, &ids[0], StateName::Ended).await;
    say("good");
}

fn grow(folder: &Path) {
    let grown = std::process::Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(folder)
        .status();
    assert!(grown.unwrap().success());
}

#[test]
fn a_full_volume_refuses_and_takes_again_once_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a_full_volume_refuses_and_takes_again_once_there_is_room: only root may mount");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1536k tmpfs \"$0\" || { echo '# no mount'; exit 0; }; exec \"$@\"";
    let prefix = ["unshare", "-m", "sh", "-c", script, root.path().to_str().unwrap()];
    let mut child = play_behind(&prefix, "full::full_volume", root.path());
    let said: Vec<String> = lines(child.stdout.take().unwrap()).collect();
    let ended = child.wait().unwrap();
    if said == ["no mount"] {
        println!("skipped: a_full_volume_refuses_and_takes_again_once_there_is_room: this user may not mount");
        return;
    }
    assert!(ended.success(), "{said:?}");
    assert!(said[0].starts_with("full "), "{said:?}");
    assert_eq!(said[1], "good");
}
