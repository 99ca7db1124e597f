//! Slow clients, by accident or on purpose, and an orderly shutdown.

use std::time::Duration;

use hybrid_cache_service::http::DrainResult;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::place::{self, PATIENCE};

async fn connect(place: &place::Place) -> TcpStream {
    TcpStream::connect(place.address).await.unwrap()
}

/// Everything until the other end closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset also counts as an end.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut text))
        .await
        .expect("an end in time");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_slow_loris_is_disconnected_and_others_are_served_meanwhile() {
    let place = place::start_with(|_| {}, |http| http.header_timeout = Duration::from_millis(300)).await;
    let mut lorises = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(&place).await;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
            .await
            .unwrap();
        lorises.push(stream);
    }
    let crawl = tokio::spawn(async move {
        for round in 0..100 {
            for stream in &mut lorises {
                let _ = stream.write_all(format!("X-{round}: a\r\n").as_bytes()).await;
            }
            sleep(Duration::from_millis(50)).await;
            let mut byte = [0];
            // The stream ends or a response arrives: in both cases the connection is over.
            if lorises[0].try_read(&mut byte).is_ok() {
                return;
            }
        }
        panic!("nobody lets a slow loris go");
    });
    assert_eq!(place.get("/healthz").await.status, 200);
    crawl.await.unwrap();
    place.end().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let place = place::start_with(|_| {}, |http| http.header_timeout = Duration::from_millis(200)).await;
    let mut silent = connect(&place).await;
    rest(&mut silent).await;
    let mut kept = connect(&place).await;
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(rest(&mut kept).await.contains("200 OK"));
    place.end().await;
}

#[tokio::test]
async fn a_slow_body_is_refused_and_disconnected() {
    let place = place::start_with(|_| {}, |http| http.body_timeout = Duration::from_millis(200)).await;
    let mut slow = connect(&place).await;
    let head = "POST /api/v1/tasks/submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"py";
    slow.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut slow).await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("\"too_slow\""),
        "{answer}"
    );
    place.end().await;
}

#[tokio::test]
async fn large_bodies_wait_for_their_turn_and_small_ones_do_not() {
    let place = place::start_with(
        |_| {},
        |http| {
            http.large_bytes = 1;
            http.body_timeout = Duration::from_secs(6);
        },
    )
    .await;
    let mut slow = connect(&place).await;
    let head = "POST /api/v1/tasks/submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{";
    slow.write_all(format!("{head}{}", " ".repeat(100_000)).as_bytes())
        .await
        .unwrap();
    sleep(Duration::from_millis(50)).await;
    place.saved("print small").await;
    // The slow client still has time: it has not been answered.
    assert!(slow.try_read(&mut [0]).is_err());
    let large = serde_json::json!({"pythonCode": "#".repeat(500_000)}).to_string();
    let answer = place.submit(large).await;
    assert!([200, 408].contains(&answer.status), "{answer:?}");
    assert!(rest(&mut slow).await.starts_with("HTTP/1.1 408"));
    place.end().await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_disconnected() {
    let place = place::start_with(|_| {}, |http| http.write_timeout = Duration::from_millis(300)).await;
    let id = place.started("burst 600000").await;
    place.until(&id, "ended").await;
    let mut silent = connect(&place).await;
    let ask = format!("GET /api/v1/tasks/{id}/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n");
    silent.write_all(ask.as_bytes()).await.unwrap();
    let gone = async {
        while place.app.following() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        while place.app.following() > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("who never reads is let go");
    place.end().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served() {
    let place = place::start_with(
        |_| {},
        |http| {
            http.connections = 4;
            http.header_timeout = Duration::from_millis(300);
        },
    )
    .await;
    // They occupy all slots until they are disconnected.
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(connect(&place).await);
    }
    assert_eq!(place.get("/healthz").await.status, 200);
    drop(idle);
    place.end().await;
}

#[tokio::test]
async fn a_connection_that_does_not_speak_http_is_closed() {
    let place = place::start().await;
    for nonsense in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\nxx yy zz\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = connect(&place).await;
        stream.write_all(nonsense).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let mut long = connect(&place).await;
    let head = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
        "a".repeat(64 << 10)
    );
    let _ = long.write_all(head.as_bytes()).await;
    assert!(rest(&mut long).await.starts_with("HTTP/1.1 431"));
    assert_eq!(place.get("/healthz").await.status, 200);
    place.end().await;
}

#[tokio::test]
async fn requests_in_progress_are_answered_before_shutdown() {
    let place = place::start().await;
    let mut slow = connect(&place).await;
    let body = "{\"pythonCode\": \"print x\"}";
    let head = format!(
        "POST /api/v1/tasks/submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    let address = place.address;
    let asking = async {
        sleep(Duration::from_millis(50)).await;
        assert!(TcpStream::connect(address).await.is_err(), "nobody new is taken");
        slow.write_all(body.as_bytes()).await.unwrap();
        rest(&mut slow).await
    };
    let (drained, answer) = tokio::join!(place.end(), asking);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(drained, DrainResult::Complete);
}
