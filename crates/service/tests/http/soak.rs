//! Soaks, with an eye on the memory. Run them by name, each in a process of its own:
//! `SOAK_SECONDS=600 cargo test --release -p hybrid-cache-service --test http -- --ignored --nocapture soak::soak`,
//! and the same with `soak::a_days_tasks` and no `SOAK_SECONDS`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hybrid_cache_report::load::Slope;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::place;

/// KiB that this process holds in memory.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; see the top of its file"]
async fn soak() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(120, |text| text.parse().unwrap());
    let place = place::start_with(
        |config| {
            config.retention.count = 500;
            config.retention.every = Duration::from_secs(5);
        },
        |_| {},
    )
    .await;
    let until = Instant::now() + Duration::from_secs(seconds);
    let address = place.address;
    let mut clients = JoinSet::new();
    for client in 0..4 {
        clients.spawn(async move {
            let json = [("content-type", "application/json")];
            let mut count = 0_u64;
            while Instant::now() < until {
                let body = serde_json::json!({"pythonCode": format!("burst 50\nprint {client}")}).to_string();
                let answer = place::send(address, "POST", "/api/v1/tasks/submit", &json, body).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let task = format!("/api/v1/tasks/{}", answer.json()["id"].as_str().unwrap());
                let run = place::send(address, "POST", &format!("{task}/run"), &[], "").await;
                assert!([202, 429].contains(&run.status), "{run:?}");
                let half = place::open(address, "GET", &format!("{task}/logs?follow=true"), &[], "").await;
                if count.is_multiple_of(2) {
                    drop(half);
                } else {
                    let _ = http_body_util::BodyExt::collect(half).await;
                }
                for path in [task.as_str(), "/", "/metrics", "/api/v1/tasks", "/nothing"] {
                    let answer = place::send(address, "GET", path, &[], "").await;
                    assert!(answer.status < 500, "{answer:?}");
                }
                count += 1;
            }
            count
        });
    }
    let every = Duration::from_secs(seconds.div_ceil(12));
    let mut seen = Vec::new();
    while Instant::now() + every < until {
        sleep(every).await;
        // The driver of these tests notes every task that it starts; that is not the service's.
        *place.driver.started.lock().unwrap() = Vec::new();
        seen.push(resident_kib());
        println!("{:>5} s  {} KiB", every.as_secs() * seen.len() as u64, resident_kib());
    }
    let mut tasks = 0;
    while let Some(count) = clients.join_next().await {
        tasks += count.unwrap();
    }
    println!("{tasks} tasks; resident {seen:?} KiB");
    // The first third is for caches and pools to fill.
    let settled = seen[seen.len() / 3];
    let last = *seen.last().unwrap();
    assert!(
        last as f64 <= settled as f64 * 1.2 + 4096.0,
        "memory grew from {settled} to {last} KiB"
    );
    place.end().await;
}

/// Tasks of a day, unless `SOAK_TASKS` says otherwise.
const DAY: u64 = 100_000;
/// What the service may keep on disk, as `--retain-size 16MiB`; SQLite's log comes on top.
const KEPT: u64 = 16 << 20;
/// Bytes that a task may leave in memory: far less than its id, so that nothing of it can be held.
const LEFT_BY_A_TASK: f64 = 20.0;
/// The log may grow so far between two checkpoints.
const LOG: u64 = 64 << 20;

/// A day's worth of tasks, each followed to its end by its client. The driver is a double, so that the service is what is measured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; see the top of its file"]
async fn a_day_of_tasks_keeps_memory_low_and_disk_within_budget() {
    let place = place::start_with(
        |config| {
            config.retention.count = 2_000;
            config.retention.bytes = Some(KEPT);
            config.retention.every = Duration::from_secs(5);
            config.concurrency = 8;
        },
        |_| {},
    )
    .await;
    let day = std::env::var("SOAK_TASKS").map_or(DAY, |text| text.parse().unwrap());
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        clients.spawn(tasks_in_turn(place.address, Arc::clone(&next), day));
    }
    let mut seen = Vec::new();
    let mut most_on_disk = 0;
    let began = Instant::now();
    // As many looks as percents of the day; each waits for its percent.
    for percent in 1..=100 {
        let mark = day * percent / 100;
        while next.load(Ordering::Relaxed) < mark && !clients.is_empty() {
            sleep(Duration::from_millis(50)).await;
            while let Some(ended) = clients.try_join_next() {
                ended.unwrap();
            }
        }
        // The driver of these tests notes every task that it starts; that is not the service's.
        *place.driver.started.lock().unwrap() = Vec::new();
        most_on_disk = most_on_disk.max(bytes_below(place.folder()));
        seen.push((began.elapsed().as_secs_f64(), resident_kib() as f64));
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let second_half = &seen[seen.len() / 2..];
    println!("resident {seen:?} (seconds, KiB); {most_on_disk} bytes on disk at most");
    let slope = Slope::fit(second_half).expect("enough values that are independent");
    let seconds = second_half.last().unwrap().0 - second_half[0].0;
    let a_task = slope.per_s * seconds * 1024.0 / (day / 2) as f64;
    println!("second half: {a_task:.1} bytes a task, {}", slope.trend().name());
    // Neither the heap nor what the service holds grows; the pages that SQLite and the allocator keep do, slowly, up to their bounds.
    assert!(a_task < LEFT_BY_A_TASK, "{a_task} bytes a task");
    assert!(most_on_disk <= KEPT + LOG, "{most_on_disk}");
    place.end().await;
}

/// One client: takes the next number, has it printed, and reads it back, until the day is over.
async fn tasks_in_turn(address: std::net::SocketAddr, next: Arc<AtomicU64>, day: u64) {
    let json = [("content-type", "application/json")];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= day {
            return;
        }
        let body = serde_json::json!({"pythonCode": format!("print {number}")}).to_string();
        let answer = place::send(address, "POST", "/api/v1/tasks/submit", &json, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let task = format!("/api/v1/tasks/{}", answer.json()["id"].as_str().unwrap());
        let run = place::send(address, "POST", &format!("{task}/run"), &[], "").await;
        assert_eq!(run.status, 202, "{run:?}");
        let printed = place::send(address, "GET", &format!("{task}/logs?follow=true"), &[], "").await;
        assert!(printed.text().contains(&number.to_string()), "{number}: {printed:?}");
        let ended = place::send(address, "GET", &task, &[], "").await.json();
        assert_eq!(
            (&ended["state"], &ended["exitCode"]),
            (&"ended".into(), &0.into()),
            "{ended}"
        );
    }
}

/// Bytes of all files below a folder. One that goes meanwhile counts nothing.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_below(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(of).sum()
}
