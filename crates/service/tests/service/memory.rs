//! The service's memory does not grow with the number or the size of outputs: measured as the most that a process of its own
//! ever held (VmHWM), which no allocator can hide anything from.

use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_service::{Engine, Follow, StateName};
use tokio::task::JoinSet;

use crate::bench::{config, lines, play, plays, reaches, say, submit, until};
use crate::flood::{Flood, letter};

const TASKS: usize = 64;
/// Printed by each task in a test that everybody runs.
const BYTES: usize = 4 << 20;
/// What 64 tasks under way may add to what an idle service holds.
const MOST_KIB: u64 = 64 << 10;

fn most_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Prints how far the memory of a service went while 64 tasks printed at the same time: half of it under one service, half
/// under the next, which reads all of it again.
#[test]
fn many_large_outputs() {
    let Some(folder) = plays("memory::many_large_outputs") else {
        return;
    };
    let bytes = std::env::var("FLOOD_BYTES").map_or(BYTES, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut config = config(&folder);
        config.concurrency = TASKS;
        let first = Arc::new(Flood::new(bytes, bytes / 2));
        let engine = Engine::open(config.clone(), Arc::clone(&first) as Arc<dyn Driver>);
        let engine = engine.await.unwrap();
        let idle = most_kib();
        let mut ids = Vec::new();
        for _ in 0..TASKS {
            let id = submit(&engine, "flood").await;
            engine.run(&id).await.unwrap();
            ids.push(id);
        }
        for id in &ids {
            until("half of it is kept", || async {
                let view = engine.get(id).await.unwrap();
                let kept = view.output.stdout_bytes + view.output.stderr_bytes;
                (kept == bytes as u64 / 2).then_some(())
            })
            .await;
        }
        engine.shutdown(Duration::ZERO).await;
        drop((engine, first));
        let half = most_kib();
        let again: Arc<dyn Driver> = Arc::new(Flood::new(bytes, bytes));
        let engine = Engine::open(config, again).await.unwrap();
        let mut readers = JoinSet::new();
        for id in ids {
            let engine = engine.clone();
            readers.spawn(async move {
                let mut reader = engine.output(&id, 0, Follow::UntilEnd).await.unwrap();
                let mut seen = 0;
                while let Some(chunk) = reader.next().await.unwrap() {
                    for byte in chunk.bytes {
                        assert_eq!(byte, letter(seen / (64 << 10)));
                        seen += 1;
                    }
                }
                assert_eq!(seen, bytes);
                let view = reaches(&engine, &id, StateName::Ended).await;
                assert_eq!(view.warnings, Vec::<String>::new());
            });
        }
        while let Some(read) = readers.join_next().await {
            read.unwrap();
        }
        say(&format!("{idle} {half} {}", most_kib()));
        engine.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn sixty_four_large_outputs_at_once_cost_the_service_a_window_each() {
    let root = tempfile::tempdir().unwrap();
    let mut child = play("memory::many_large_outputs", root.path());
    let told: Vec<String> = lines(child.stdout.take().unwrap()).collect();
    assert!(child.wait().unwrap().success(), "{told:?}");
    let figures: Vec<u64> = told[0].split(' ').map(|text| text.parse().unwrap()).collect();
    let [idle, half, whole] = figures[..] else {
        panic!("{told:?}")
    };
    println!("idle {idle} KiB, at most {half} under the first service, {whole} in all");
    assert!(whole - idle < MOST_KIB, "idle {idle} KiB, then {half}, then {whole}");
}
