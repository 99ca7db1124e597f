//! Following output: live, without loss, from any position, by many clients, and without leftovers once they are gone.

use std::time::Duration;

use http_body_util::BodyExt;
use hybrid_cache_service::http::DrainResult;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::place::{self, PATIENCE, Place};

/// One event.
#[derive(Debug, Default, Clone, PartialEq)]
struct Event {
    id: Option<u64>,
    name: String,
    data: Value,
}

/// Reads events as a browser does.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    async fn open(place: &Place, id: &str, headers: &[(&str, &str)], query: &str) -> Events {
        let path = format!("/api/v1/tasks/{id}/logs?follow=true{query}");
        let response = place::open(place.address, "GET", &path, headers, "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Events {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(at) = self.text.find("\n\n") {
                let block: String = self.text.drain(..at + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let (Some(name), Some(data)) = (field("event:"), field("data:")) {
                    return Some(Event {
                        id: field("id:").map(|id| id.parse().unwrap()),
                        name: name.to_owned(),
                        data: serde_json::from_str(data).unwrap(),
                    });
                }
                continue;
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("an event in time")?;
            let data = frame.ok()?.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

fn text(events: &[Event], name: &str) -> String {
    let own = events.iter().filter(|event| event.name == name);
    own.map(|event| event.data.as_str().unwrap()).collect()
}

async fn until(condition: impl Fn() -> bool, what: &str) {
    let waiting = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} never came"));
}

#[tokio::test]
async fn output_is_followed_live_and_ends_with_the_task() {
    let place = place::start().await;
    let id = place
        .started("print one\nerr two\nsleep 2000\nprint three\nexit 4")
        .await;
    let mut events = Events::open(&place, &id, &[], "").await;
    let first = events.next().await.unwrap();
    assert_eq!(
        (first.name.as_str(), first.data.as_str(), first.id),
        ("stdout", Some("one\n"), Some(4))
    );
    let second = events.next().await.unwrap();
    assert_eq!((second.name.as_str(), second.id), ("stderr", Some(8)));
    let running = place.get(&format!("/api/v1/tasks/{id}")).await.json();
    assert_eq!(
        running["state"], "running",
        "the second line did not wait for the third"
    );
    let rest = events.rest().await;
    assert_eq!(text(&rest, "stdout"), "three\n");
    let end = rest.last().unwrap();
    assert_eq!(
        (end.name.as_str(), &end.data),
        (
            "end",
            &serde_json::json!({"state": "ended", "end": "exited", "exitCode": 4})
        )
    );
    place.end().await;
}

#[tokio::test]
async fn a_client_continues_after_its_last_event() {
    let place = place::start().await;
    let id = place.started("burst 500\nerr oh\nburst 500").await;
    place.until(&id, "ended").await;
    let all = Events::open(&place, &id, &[], "").await.rest().await;
    let whole: String = all.iter().filter_map(|event| event.data.as_str()).collect();
    for from in [0, 1, 7, 4000, whole.len()] {
        let last = from.to_string();
        let rest = Events::open(&place, &id, &[("last-event-id", &last)], "")
            .await
            .rest()
            .await;
        let seen: String = rest.iter().filter_map(|event| event.data.as_str()).collect();
        assert_eq!(seen, whole[from..], "{from}");
        let rest = Events::open(&place, &id, &[], &format!("&from={from}&stream=stderr"))
            .await
            .rest()
            .await;
        assert!(rest.iter().all(|event| event.name != "stdout"));
    }
    let path = format!("/api/v1/tasks/{id}/logs?follow=true");
    let bad = place.send("GET", &path, &[("last-event-id", "abc")], "").await;
    assert_eq!((bad.status, bad.problem().0.as_str()), (400, "invalid_parameter"));
    place.end().await;
}

#[tokio::test]
async fn text_split_within_a_character_arrives_whole() {
    let place = place::start().await;
    let id = place.started("print ä€😀 \u{2028}\nerr \\n").await;
    let events = Events::open(&place, &id, &[], "").await.rest().await;
    assert_eq!(text(&events, "stdout"), "ä€😀 \u{2028}\n");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_followers_lose_nothing() {
    let place = place::start().await;
    let id = place.saved("sleep 300\nburst 5000\nerr middle\nburst 5000").await;
    let mut followers = JoinSet::new();
    for _ in 0..200 {
        let events = Events::open(&place, &id, &[], "").await;
        followers.spawn(events.rest());
    }
    until(|| place.app.following() == 200, "200 followers").await;
    place.post(&format!("/api/v1/tasks/{id}/run")).await;
    let expected: String = (0..5000).map(|number| format!("line {number}\n")).collect();
    let mut count = 0;
    while let Some(events) = timeout(PATIENCE, followers.join_next()).await.unwrap() {
        let events = events.unwrap();
        assert_eq!(text(&events, "stdout"), [expected.as_str(), expected.as_str()].concat());
        assert_eq!(text(&events, "stderr"), "middle\n");
        assert_eq!(events.last().unwrap().name, "end");
        assert!(events.iter().filter_map(|event| event.id).is_sorted());
        count += 1;
    }
    assert_eq!(count, 200);
    until(|| place.app.following() == 0, "the last follower's end").await;
    place.end().await;
}

#[tokio::test]
async fn a_disconnected_follower_leaves_nothing_behind() {
    let place = place::start_with(|_| {}, |http| http.keep_alive = Duration::from_millis(20)).await;
    let id = place.started("print x\nhold").await;
    let mut followers = Vec::new();
    for _ in 0..20 {
        let mut events = Events::open(&place, &id, &[], "").await;
        events.next().await.unwrap();
        followers.push(events);
    }
    assert_eq!(place.app.following(), 20);
    drop(followers);
    until(|| place.app.following() == 0, "the end of who went away").await;
    place.post(&format!("/api/v1/tasks/{id}/cancel")).await;
    place.until(&id, "cancelled").await;
    until(|| place.engine.metrics().live_outputs == 0, "an end of all output").await;
    place.end().await;
}

#[tokio::test]
async fn the_number_of_followers_is_bounded() {
    let place = place::start_with(|_| {}, |http| http.followers = 2).await;
    let id = place.started("hold").await;
    let followers = [
        Events::open(&place, &id, &[], "").await,
        Events::open(&place, &id, &[], "").await,
    ];
    let third = place.get(&format!("/api/v1/tasks/{id}/logs?follow=true")).await;
    assert_eq!((third.status, third.problem().0.as_str()), (429, "too_many"));
    assert!(!third.header("retry-after").is_empty());
    // An unknown id takes no slot.
    assert_eq!(place.get(&format!("/api/v1/tasks/{id}/logs")).await.status, 200);
    drop(followers);
    place.post(&format!("/api/v1/tasks/{id}/cancel")).await;
    place.end().await;
}

#[tokio::test]
async fn shutdown_disconnects_followers_and_not_the_task() {
    let place = place::start_with(|_| {}, |http| http.follow_timeout = Duration::from_secs(30)).await;
    let id = place.started("print x\nsleep 200\nprint y").await;
    let mut events = Events::open(&place, &id, &[], "").await;
    events.next().await.unwrap();
    let reading = tokio::spawn(events.rest());
    let clock = Instant::now();
    assert_eq!(place.end().await, DrainResult::Complete);
    assert!(clock.elapsed() < Duration::from_secs(20));
    // No event says that the task ended: the client asks again, and finds out.
    assert!(reading.await.unwrap().iter().all(|event| event.name != "end"));
}

#[tokio::test]
async fn a_task_that_never_runs_is_not_followed_for_ever() {
    let place = place::start_with(|_| {}, |http| http.follow_timeout = Duration::from_millis(100)).await;
    let id = place.saved("print x").await;
    assert_eq!(Events::open(&place, &id, &[], "").await.rest().await, []);
    place.end().await;
}
