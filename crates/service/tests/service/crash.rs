//! kill -9 at every step of a task and at any moment under load: no accepted task is lost, none runs twice.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_service::EndName;
use hybrid_cache_service::{Engine, StateName, TaskId};

use crate::bench::{Bench, config, lines, play, plays, reaches, say, submit, until};
use crate::cluster::{Cluster, PRINTED, Point};
use crate::scripted::Scripted;

/// Processes that are killed under load.
const LIVES: u64 = 24;

fn open_cluster(folder: &Path, deadly: Option<Point>) -> Arc<Cluster> {
    let mut cluster = Cluster::open(&folder.join("cluster"));
    cluster.deadly = deadly;
    Arc::new(cluster)
}

async fn open(folder: &Path, driver: Arc<dyn Driver>) -> Engine {
    until("the folder is let go of", || async {
        Engine::open(config(folder), Arc::clone(&driver)).await.ok()
    })
    .await
}

/// Role: clients that submit and run tasks until they are killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_busy() {
    let Some(folder) = plays("crash::crash_busy") else {
        return;
    };
    let engine = open(&folder, open_cluster(&folder, None)).await;
    say("open");
    let clients = (0..4).map(|client| {
        let engine = engine.clone();
        async move {
            for turn in 0_u64.. {
                let id = submit(&engine, &format!("sleep {}", (turn * 7 + client) % 30)).await;
                say(&format!("saved {id}"));
                // A full queue is not an error; the task stays saved.
                if engine.run(&id).await.is_ok() {
                    say(&format!("queued {id}"));
                }
            }
        }
    });
    futures_util::future::join_all(clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_killed_under_load_loses_nothing_and_runs_nothing_twice() {
    let root = tempfile::tempdir().unwrap();
    let (mut saved, mut queued) = (BTreeSet::new(), BTreeSet::new());
    for life in 0..LIVES {
        let mut child = play("crash::crash_busy", root.path());
        let mut lines = lines(child.stdout.take().unwrap());
        assert_eq!(lines.next().as_deref(), Some("open"));
        let reading = std::thread::spawn(move || lines.collect::<Vec<_>>());
        // At another moment in each life.
        std::thread::sleep(Duration::from_millis(30 + life * 23 % 170));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reading.join().unwrap() {
            match line.split_once(' ') {
                Some(("saved", id)) => saved.extend(TaskId::parse(id)),
                Some(("queued", id)) => queued.extend(TaskId::parse(id)),
                _ => {}
            }
        }
    }
    assert!(saved.len() > 50, "only {} tasks were submitted", saved.len());
    let cluster = open_cluster(root.path(), None);
    let engine = open(root.path(), Arc::clone(&cluster) as Arc<dyn Driver>).await;
    for id in &queued {
        let view = reaches(&engine, id, StateName::Ended).await;
        assert_eq!(view.summary.end, Some(EndName::Exited), "{view:?}");
        let kept = crate::bench::read_all(&engine, id, 0, hybrid_cache_service::Follow::Stored).await;
        assert_eq!(kept, PRINTED.as_bytes(), "{id}");
    }
    for id in &saved {
        let view = engine.get(id).await.unwrap();
        // If it was killed after storing "queued" and before answering, it may have run.
        if view.summary.state == StateName::Saved {
            assert!(!queued.contains(id));
        }
        assert!(cluster.times_made(id.as_str()) <= 1, "{id} ran twice");
    }
    for id in &queued {
        assert_eq!(cluster.times_made(id.as_str()), 1, "{id}");
    }
    engine.shutdown(Duration::from_secs(5)).await;
    println!("{} tasks saved, {} queued, {LIVES} kills", saved.len(), queued.len());
}

/// Role: runs one task, and is killed at the step that the folder names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_at_point() {
    let Some(folder) = plays("crash::crash_at_point") else {
        return;
    };
    let point: usize = std::fs::read_to_string(folder.join("point")).unwrap().parse().unwrap();
    let engine = open(&folder, open_cluster(&folder, Some(Point::ALL[point]))).await;
    let id = submit(&engine, "sleep 20").await;
    engine.run(&id).await.unwrap();
    say(id.as_str());
    tokio::time::sleep(crate::bench::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_killed_at_each_step_of_a_task_continues_from_there() {
    for (number, point) in Point::ALL.into_iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("point"), number.to_string()).unwrap();
        let mut child = play("crash::crash_at_point", root.path());
        let mut said: Vec<String> = lines(child.stdout.take().unwrap()).collect();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{point:?}: {said:?}");
        let cluster = open_cluster(root.path(), None);
        let engine = open(root.path(), Arc::clone(&cluster) as Arc<dyn Driver>).await;
        let all = engine
            .list(&hybrid_cache_service::ListQuery::default())
            .await
            .unwrap()
            .items;
        // It may be killed before it has printed that.
        let id = said
            .pop()
            .and_then(|id| TaskId::parse(&id))
            .unwrap_or_else(|| all[0].id.clone());
        let view = reaches(&engine, &id, StateName::Ended).await;
        assert_eq!(view.summary.exit_code, Some(0), "{point:?}");
        assert_eq!(
            view.output.stdout_bytes + view.output.stderr_bytes,
            0,
            "the cluster counts none"
        );
        let kept = crate::bench::read_all(&engine, &id, 0, hybrid_cache_service::Follow::Stored).await;
        assert_eq!(kept, PRINTED.as_bytes(), "{point:?}");
        assert_eq!(cluster.times_made(id.as_str()), 1, "{point:?}");
        engine.shutdown(Duration::from_secs(5)).await;
    }
}

/// Role: a service whose tasks die with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_with_tasks() {
    let Some(folder) = plays("crash::crash_with_tasks") else {
        return;
    };
    let mut config = config(&folder);
    config.concurrency = 1;
    let engine = Engine::open(config, Arc::new(Scripted::with_process())).await.unwrap();
    let running = submit(&engine, "print begun\nhold").await;
    engine.run(&running).await.unwrap();
    reaches(&engine, &running, StateName::Running).await;
    until("its output is kept", || async {
        let kept = crate::bench::read_all(&engine, &running, 0, hybrid_cache_service::Follow::Stored).await;
        (!kept.is_empty()).then_some(())
    })
    .await;
    let queued = submit(&engine, "print after").await;
    engine.run(&queued).await.unwrap();
    let saved = submit(&engine, "print later").await;
    say(&format!("{running} {queued} {saved}"));
    tokio::time::sleep(crate::bench::PATIENCE).await;
}

#[tokio::test]
async fn a_task_that_died_with_the_service_is_reported_and_not_run_again() {
    let root = tempfile::tempdir().unwrap();
    let mut child = play("crash::crash_with_tasks", root.path());
    let line = lines(child.stdout.take().unwrap()).next().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let ids: Vec<TaskId> = line.split(' ').map(|id| TaskId::parse(id).unwrap()).collect();
    let driver = Arc::new(Scripted::with_process());
    let engine = open(root.path(), Arc::clone(&driver) as Arc<dyn Driver>).await;
    let bench = Bench { engine, driver, root };
    let running = bench.reaches(&ids[0], StateName::Ended).await;
    let failure = running.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Evicted);
    assert!(failure.message.contains("stopped while the task ran"), "{failure:?}");
    let kept = crate::bench::read_all(&bench.engine, &ids[0], 0, hybrid_cache_service::Follow::Stored).await;
    assert_eq!(kept, b"begun\n");
    bench.reaches(&ids[1], StateName::Ended).await;
    assert_eq!(bench.engine.get(&ids[2]).await.unwrap().summary.state, StateName::Saved);
    assert_eq!(*bench.driver.started.lock().unwrap(), [ids[1].to_string()]);
}
