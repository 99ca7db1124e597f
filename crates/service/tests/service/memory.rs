//! The service's memory does not grow with the number or the size of outputs. Each measurement is the peak of its own
//! process (VmHWM), which no allocator can hide.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_service::http::{App, HttpConfig, Server};
use hybrid_cache_service::store::sqlite::{self, Connection};
use hybrid_cache_service::{Engine, Follow, StateName, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bench::{config, lines, play, plays, reaches, say, submit, until};
use crate::flood::{Flood, letter};
use crate::scripted::Scripted;

const TASKS: usize = 64;
/// Bytes that each task prints in the test that everyone runs.
const BYTES: usize = 4 << 20;
/// What 64 active tasks may add to the memory of an idle service.
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

/// Runs a role in its own process, and returns the three figures that it prints, in KiB.
fn figures(role: &str) -> [u64; 3] {
    let root = tempfile::tempdir().unwrap();
    let mut child = play(role, root.path());
    let reported: Vec<String> = lines(child.stdout.take().unwrap()).collect();
    assert!(child.wait().unwrap().success(), "{reported:?}");
    let figures: Vec<u64> = reported[0].split(' ').map(|text| text.parse().unwrap()).collect();
    figures.try_into().unwrap_or_else(|_| panic!("{reported:?}"))
}

#[test]
fn sixty_four_large_outputs_at_once_cost_the_service_a_window_each() {
    let [idle, half, whole] = figures("memory::many_large_outputs");
    println!("idle {idle} KiB, at most {half} under the first service, {whole} in all");
    assert!(whole - idle < MOST_KIB, "idle {idle} KiB, then {half}, then {whole}");
}

/// What requests may add: their bound of 32 MiB, the answers that are being made, and what the allocator keeps.
const MOST_FOR_REQUESTS_KIB: u64 = 72 << 10;
const CLIENTS: usize = 50;
const LARGE: usize = 1 << 20;

/// Sends a request and, a while later, reads the answer without keeping it. Returns its status and its size.
async fn ask(address: SocketAddr, request: Arc<Vec<u8>>, unread: Duration) -> (String, usize) {
    let socket = TcpSocket::new_v4().unwrap();
    // What the system holds for a reader that is slow is not the service's.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    sleep(unread).await;
    let (mut status, mut size, mut buffer) = (String::new(), 0, vec![0; 4096]);
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        if count == 0 {
            return (status, size);
        }
        if size == 0 {
            status = String::from_utf8_lossy(&buffer[9..12]).into_owned();
        }
        size += count;
    }
}

/// The same by all clients at once.
async fn ask_all(address: SocketAddr, request: String, unread: Duration) -> Vec<(String, usize)> {
    let request = Arc::new(request.into_bytes());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(ask(address, Arc::clone(&request), unread));
    }
    clients.join_all().await
}

/// Prints how far the memory of a service went with many large submits while the database was locked, and with many large
/// answers that nobody read.
#[test]
fn many_large_requests() {
    let Some(folder) = plays("memory::many_large_requests") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut config = config(&folder);
        config.busy = Duration::from_secs(20);
        config.store_call = Duration::from_secs(300);
        let engine = Engine::open(config, Arc::new(Scripted::independent())).await.unwrap();
        // A slow machine has its time.
        let http = HttpConfig {
            body_timeout: Duration::from_secs(300),
            request_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(300),
            ..HttpConfig::new(http::Access::Local)
        };
        let app = App::new(engine.clone(), http).unwrap();
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address().unwrap();
        tokio::spawn(server.serve(app, std::future::pending(), Duration::ZERO));
        let code = format!("1{}", "\t".repeat(LARGE - 1));
        let body = serde_json::json!({"pythonCode": code}).to_string();
        let head = "Host: localhost\r\nConnection: close";
        let submit = format!(
            "POST /api/v1/tasks/submit HTTP/1.1\r\n{head}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let id = crate::bench::submit(&engine, &code).await;
        let idle = most_kib();
        let lock = Connection::open(&folder.join("tasks.sqlite3"), sqlite::OpenMode::Write, Duration::ZERO);
        let lock = lock.unwrap();
        lock.batch("BEGIN IMMEDIATE").unwrap();
        let unlock = async {
            sleep(Duration::from_secs(3)).await;
            lock.batch("ROLLBACK").unwrap();
        };
        let (answers, ()) = tokio::join!(ask_all(address, submit, Duration::ZERO), unlock);
        let submitted = most_kib();
        for (status, _) in answers {
            assert_eq!(status, "200");
        }
        let get = format!("GET /api/v1/tasks/{id} HTTP/1.1\r\n{head}\r\n\r\n");
        for (status, size) in ask_all(address, get, Duration::from_secs(2)).await {
            assert!(status == "200" && size > LARGE, "{status} {size}");
        }
        say(&format!("{idle} {submitted} {}", most_kib()));
        engine.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn fifty_large_bodies_and_as_many_unread_answers_hold_no_more_than_their_bound() {
    let [idle, submitted, reported] = figures("memory::many_large_requests");
    println!("idle {idle} KiB, at most {submitted} with large bodies, {reported} with large answers");
    assert!(
        submitted - idle < MOST_FOR_REQUESTS_KIB,
        "idle {idle} KiB, then {submitted}"
    );
    assert!(
        reported - idle < MOST_FOR_REQUESTS_KIB,
        "idle {idle} KiB, then {submitted}, then {reported}"
    );
}
