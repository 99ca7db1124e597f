//! No room: in the database because of its own bound, and for everything on a full volume.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use hybrid_cache_model::TaskSpec;
use hybrid_cache_service::{Engine, ListQuery, ServiceError, StateName, TaskId};

use crate::bench::{Bench, config, lines, play, play_behind, plays, reaches, say, submit, until};
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
                assert!(error.to_string().contains("free space"), "{error}");
                return ids;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(ids.len() < 2000, "it is never full");
    }
}

/// Every accepted task exists, nothing else does, and reads are answered.
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

/// Tasks are accepted again once there is room.
async fn becomes_ready(engine: &Engine) {
    until("it is ready", || async { engine.ready().await.ready.then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_database_refuses_tasks_until_there_is_room() {
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
    // The default limit for saved tasks is a part of the volume, and would end this before the volume is full.
    config.retention.bytes = Some(1 << 30);
    let engine = Engine::open(config, driver).await.unwrap();
    let ids = fill(&engine).await;
    check(&engine, &ids).await;
    say(&format!("full {}", ids.len()));
    // Reads and accepted tasks are not affected; with room, everything continues.
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

/// The output of a role on its own volume of one and a half megabytes; `None` if nothing can be mounted.
fn on_a_small_volume(test: &str, role: &str) -> Option<Vec<String>> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: {test}: only root may mount");
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1536k tmpfs \"$0\" || { echo '# no mount'; exit 0; }; exec \"$@\"";
    let prefix = ["unshare", "-m", "sh", "-c", script, root.path().to_str().unwrap()];
    let mut child = play_behind(&prefix, role, root.path());
    let said: Vec<String> = lines(child.stdout.take().unwrap()).collect();
    let ended = child.wait().unwrap();
    if said == ["no mount"] {
        println!("skipped: {test}: this user may not mount");
        return None;
    }
    assert!(ended.success(), "{said:?}");
    Some(said)
}

#[test]
fn a_full_volume_refuses_tasks_until_there_is_room() {
    let name = "a_full_volume_refuses_tasks_until_there_is_room";
    if let Some(said) = on_a_small_volume(name, "full::full_volume") {
        assert!(said[0].starts_with("full "), "{said:?}");
        assert_eq!(said[1], "good");
    }
}

/// Role: a service that has a task running, and is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn about_to_be_killed() {
    let Some(folder) = plays("full::about_to_be_killed") else {
        return;
    };
    let engine = Engine::open(config(&folder), Arc::new(Scripted::with_process()));
    let engine = engine.await.unwrap();
    let id = submit(&engine, "hold").await;
    engine.run(&id).await.unwrap();
    reaches(&engine, &id, StateName::Running).await;
    say(id.as_str());
    std::future::pending().await
}

/// Role: that service, and the next one on the same small volume, which is full by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_on_a_full_volume() {
    let Some(folder) = plays("full::next_on_a_full_volume") else {
        return;
    };
    let mut first = play("full::about_to_be_killed", &folder);
    let id = lines(first.stdout.take().unwrap()).next().unwrap();
    let id = TaskId::parse(&id).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let filler = folder.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    for bytes in [1 << 16, 1] {
        while file.write_all(&vec![b'x'; bytes]).is_ok() {}
    }
    let engine = Engine::open(config(&folder), Arc::new(Scripted::with_process()));
    let engine = engine.await.unwrap();
    let refused = engine.submit(&large(), None).await;
    assert!(matches!(refused, Err(ServiceError::StorageFull { .. })), "{refused:?}");
    assert_eq!(engine.get(&id).await.unwrap().summary.state, StateName::Running);
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    let ended = reaches(&engine, &id, StateName::Ended).await;
    assert!(ended.failure.unwrap().message.contains("stopped while the task ran"));
    say("good");
}

#[test]
fn a_service_starts_on_a_full_volume_and_ends_what_died_once_there_is_room() {
    let name = "a_service_starts_on_a_full_volume_and_ends_what_died_once_there_is_room";
    if let Some(said) = on_a_small_volume(name, "full::next_on_a_full_volume") {
        assert_eq!(said, ["good"]);
    }
}
