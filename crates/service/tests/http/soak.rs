//! A soak: everything at once for a while, with an eye on the memory. Run it by name, in its own process:
//! `SOAK_SECONDS=600 cargo test --release -p hybrid-cache-service --test http -- --ignored --nocapture soak`.

use std::time::Duration;

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
