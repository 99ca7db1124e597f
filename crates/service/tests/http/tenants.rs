//! Tenants on one service: each sees only its own tasks, and another tenant's look like missing ones.

use std::collections::BTreeSet;

use hybrid_cache_service::http::{Access, Tokens};

use super::place::{self, Answer, Place};

const ONE: &str = "one-111111111111111111111111111111";
const OTHER: &str = "other-222222222222222222222222222222";

/// A service with two tenants, and what one of them requested.
struct Shared {
    place: Place,
}

impl Shared {
    async fn start() -> Shared {
        let tokens = Tokens::read(&format!("one {ONE}\nother {OTHER}\n")).unwrap();
        let place = place::start_with(|_| {}, |http| http.access = Access::Tokens(tokens)).await;
        Shared { place }
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        self.ask_with(token, method, path, &[], body).await
    }

    async fn ask_with(&self, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let kind = if path.starts_with("/api/") {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        let own = [("authorization", bearer.as_str()), ("content-type", kind)];
        self.place.send(method, path, &[&own, headers].concat(), body).await
    }

    /// Submits, with a key if there is one.
    async fn submit(&self, token: &str, code: &str, key: Option<&str>) -> Answer {
        let body = serde_json::json!({"pythonCode": code}).to_string();
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        self.ask_with(token, "POST", "/api/v1/tasks/submit", &headers, &body)
            .await
    }

    async fn saved(&self, token: &str, code: &str) -> String {
        let answer = self.submit(token, code, None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Runs a task to a state.
    async fn run(&self, token: &str, id: &str, state: &str) {
        let path = format!("/api/v1/tasks/{id}");
        assert_eq!(self.ask(token, "POST", &format!("{path}/run"), "").await.status, 202);
        for _ in 0..2000 {
            if self.ask(token, "GET", &path, "").await.json()["state"] == state {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{id} was never {state}");
    }
}

/// Every path of one task, of the API and of the pages, with its method.
fn paths_of_a_task() -> Vec<(String, String)> {
    let description: serde_json::Value = serde_json::from_str(hybrid_cache_service::http::OPENAPI).unwrap();
    let mut paths = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|_| path.contains("{id}")) {
            paths.push((method.to_uppercase(), path.clone()));
        }
    }
    assert!(paths.len() >= 5, "{paths:?}");
    paths.push(("GET".into(), "/api/v1/tasks/{id}/logs?follow=true".into()));
    paths.push(("GET".into(), "/tasks/{id}".into()));
    paths.extend(["run", "cancel", "delete"].map(|action| ("POST".into(), format!("/tasks/{{id}}/{action}"))));
    paths
}

#[tokio::test]
async fn another_tenants_task_looks_like_a_missing_one() {
    let shared = Shared::start().await;
    let unknown = "task-00000000000000000000";
    let saved = shared.saved(ONE, "print secret").await;
    let running = shared.saved(ONE, "print secret\nhold").await;
    shared.run(ONE, &running, "running").await;
    let ended = shared.saved(ONE, "print secret").await;
    shared.run(ONE, &ended, "ended").await;
    // The response may be cached since its owner requested it.
    shared.ask(ONE, "GET", &format!("/api/v1/tasks/{ended}"), "").await;
    for (method, path) in paths_of_a_task() {
        let expected = shared.ask(OTHER, &method, &path.replace("{id}", unknown), "").await;
        assert_eq!(expected.status, 404, "{method} {path}");
        for id in [&saved, &running, &ended] {
            let answer = shared.ask(OTHER, &method, &path.replace("{id}", id), "").await;
            let reported = answer.text().replace(id.as_str(), unknown);
            assert_eq!((answer.status, reported), (404, expected.text()), "{method} {path}");
            let names = |answer: &Answer| {
                let headers = answer.headers.iter();
                let reported =
                    headers.filter(|(name, _)| !["x-request-id", "date", "content-length"].contains(&name.as_str()));
                reported
                    .map(|(name, value)| format!("{name}: {value:?}"))
                    .collect::<BTreeSet<_>>()
            };
            assert_eq!(names(&answer), names(&expected), "{method} {path}");
        }
    }
    for (id, state) in [(&saved, "saved"), (&running, "running"), (&ended, "ended")] {
        let task = shared.ask(ONE, "GET", &format!("/api/v1/tasks/{id}"), "").await.json();
        assert_eq!(task["state"], state, "nobody else changed it");
    }
    shared
        .ask(ONE, "POST", &format!("/api/v1/tasks/{running}/cancel"), "")
        .await;
    shared.place.end().await;
}

#[tokio::test]
async fn lists_pages_keys_and_cursors_belong_to_one_tenant() {
    let shared = Shared::start().await;
    let mut own = Vec::new();
    for number in 0..3 {
        own.push(shared.saved(ONE, &format!("print {number}")).await);
        shared.saved(OTHER, "print other").await;
    }
    shared.run(ONE, &own[0], "ended").await;
    for query in ["", "?state=saved,ended", "?end=exited"] {
        let list = shared
            .ask(OTHER, "GET", &format!("/api/v1/tasks{query}"), "")
            .await
            .text();
        assert!(own.iter().all(|id| !list.contains(id.as_str())), "{list}");
    }
    let first = shared.ask(ONE, "GET", "/api/v1/tasks?limit=2", "").await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let next = format!("/api/v1/tasks?limit=2&cursor={}", first["next"].as_str().unwrap());
    let rest = shared.ask(ONE, "GET", &next, "").await.json();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        shared.ask(OTHER, "GET", &next, "").await.problem().0,
        "invalid_parameter"
    );
    let home = shared.ask(OTHER, "GET", "/", "").await.text();
    assert!(own.iter().all(|id| !home.contains(id.as_str())), "{home}");
    assert!(
        home.contains("<span class=\"figure\">3</span><span class=\"state s-saved\">"),
        "{home}"
    );
    assert!(
        home.contains("<span class=\"figure\">0</span><span class=\"state s-ended\">"),
        "{home}"
    );
    assert!(home.contains("no task has asked a cache yet"), "{home}");
    // The same key is a new one for another tenant, and a known one for its own.
    let made = shared.submit(ONE, "print key", Some("the-key")).await.json()["id"].clone();
    let others = shared.submit(OTHER, "print another body", Some("the-key")).await;
    assert_eq!((others.status, others.header("idempotency-replayed")), (200, ""));
    assert_ne!(others.json()["id"], made);
    let again = shared.submit(ONE, "print key", Some("the-key")).await;
    assert_eq!(
        (again.header("idempotency-replayed"), &again.json()["id"]),
        ("true", &made)
    );
    shared.place.end().await;
}

#[tokio::test]
async fn a_browser_that_signed_in_sees_its_tenants_tasks() {
    let shared = Shared::start().await;
    let id = shared.saved(ONE, "print x").await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let mut seen = Vec::new();
    for token in [ONE, OTHER] {
        let answer = shared
            .place
            .send("POST", "/login", &form, format!("token={token}"))
            .await;
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        let list = shared.place.send("GET", "/", &[("cookie", &cookie)], "").await;
        seen.push((list.status, list.text().contains(&id)));
    }
    assert_eq!(seen, [(200, true), (200, false)]);
    shared.place.end().await;
}

#[tokio::test]
async fn a_long_queue_of_one_tenant_neither_blocks_nor_precedes_others() {
    let tokens = Tokens::read(&format!("one {ONE}\nother {OTHER}\n")).unwrap();
    let change = |service: &mut hybrid_cache_service::ServiceConfig| {
        service.concurrency = 1;
        service.queue = 5;
    };
    let place = place::start_with(change, |http| http.access = Access::Tokens(tokens)).await;
    let shared = Shared { place };
    let hold = shared.saved(ONE, "hold").await;
    shared.run(ONE, &hold, "running").await;
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let id = shared.saved(ONE, "exit 0").await;
        let answer = shared.ask(ONE, "POST", &format!("/api/v1/tasks/{id}/run"), "").await;
        waiting.push((id, answer.status));
    }
    assert_eq!(
        waiting.iter().filter(|(_, status)| *status == 202).count(),
        5,
        "{waiting:?}"
    );
    let other = shared.saved(OTHER, "exit 0").await;
    let answer = shared
        .ask(OTHER, "POST", &format!("/api/v1/tasks/{other}/run"), "")
        .await;
    assert_eq!(answer.status, 202, "the queue is full for one tenant alone");
    shared
        .ask(ONE, "POST", &format!("/api/v1/tasks/{hold}/cancel"), "")
        .await;
    shared.run(OTHER, &other, "ended").await;
    let started = shared.place.driver.started.lock().unwrap().clone();
    let place_of = |id: &str| started.iter().position(|known| known == id);
    let (other, last) = (place_of(&other).unwrap(), place_of(&waiting[4].0));
    assert!(last.is_none_or(|last| other < last), "{started:?}");
    shared.place.end().await;
}
