//! Many requests at once, and many stored tasks.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hybrid_cache_service::{ListQuery, StateName, TaskId};

use crate::bench::{Bench, submit, until};
use crate::scripted::Scripted;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_submits_at_once_are_stored_and_run() {
    let change = |config: &mut hybrid_cache_service::ServiceConfig| config.concurrency = 16;
    let bench = Bench::with(Scripted::independent(), change).await;
    let clients: Vec<_> = (0..1000)
        .map(|number| {
            let engine = bench.engine.clone();
            tokio::spawn(async move {
                let id = submit(&engine, &format!("print {number}")).await;
                engine.run(&id).await.unwrap();
                id
            })
        })
        .collect();
    let mut ids = HashSet::new();
    for client in clients {
        ids.insert(client.await.unwrap());
    }
    assert_eq!(ids.len(), 1000);
    until("all have ended", || async {
        let tasks = bench.engine.metrics().tasks;
        tasks.contains(&(StateName::Ended, 1000)).then_some(())
    })
    .await;
    let started = bench.driver.started.lock().unwrap().clone();
    assert_eq!(started.iter().collect::<HashSet<_>>().len(), started.len());
    assert!(bench.driver.most.load(std::sync::atomic::Ordering::SeqCst) <= 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_stored_tasks_are_listed_read_and_opened_quickly() {
    let bench = Bench::new().await;
    let few = look_up(&bench, &bench.start("exit 0").await).await;
    for _ in 0..20 {
        let clients = (0..500).map(|_| submit(&bench.engine, "exit 0"));
        futures_util::future::join_all(clients).await;
    }
    bench.engine.shutdown(Duration::ZERO).await;
    let bench = bench.reopen().await;
    assert_eq!(bench.engine.metrics().tasks[0], (StateName::Saved, 10_000));
    let many = look_up(&bench, &bench.start("exit 0").await).await;
    // A walk over all of them would take some hundred times as long.
    assert!(many < few * 20, "{many:?} with many tasks, {few:?} with one");
}

/// How long it takes to find this ended task again and again, alone and among those that ended.
async fn look_up(bench: &Bench, id: &TaskId) -> Duration {
    bench.reaches(id, StateName::Ended).await;
    let query = ListQuery {
        states: vec![StateName::Ended],
        ..ListQuery::default()
    };
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(!bench.engine.list(&query).await.unwrap().items.is_empty());
        assert_eq!(bench.engine.get(id).await.unwrap().summary.state, StateName::Ended);
    }
    begun.elapsed()
}
