//! Access, and the headers of every response.

use hybrid_cache_service::http::{Access, Tokens};

use super::place::{self, Place};

const TOKEN: &str = "correct-horse-battery-staple-0123456789";

async fn guarded() -> Place {
    let tokens = Tokens::read(TOKEN).unwrap();
    place::start_with(|_| {}, |http| http.access = Access::Tokens(tokens)).await
}

#[tokio::test]
async fn without_a_token_every_request_is_denied() {
    let place = guarded().await;
    let bearer = format!("Bearer {TOKEN}");
    let known = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let id = place
        .send("POST", "/api/v1/tasks/submit", &known, "{\"pythonCode\": \"hold\"}")
        .await
        .json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (method, path) in [
        ("POST", "/api/v1/tasks/submit".to_owned()),
        ("GET", "/api/v1/tasks".to_owned()),
        ("GET", format!("/api/v1/tasks/{id}")),
        ("GET", format!("/api/v1/tasks/{id}/logs")),
        ("GET", format!("/api/v1/tasks/{id}/logs?follow=true")),
        ("POST", format!("/api/v1/tasks/{id}/run")),
        ("POST", format!("/api/v1/tasks/{id}/cancel")),
        ("DELETE", format!("/api/v1/tasks/{id}")),
        ("GET", "/metrics".to_owned()),
        ("GET", "/nothing".to_owned()),
        ("GET", "/".to_owned()),
    ] {
        for wrong in [
            None,
            Some("Bearer wrong"),
            Some("Bearer "),
            Some("Basic YTpi"),
            Some(TOKEN),
        ] {
            let headers: Vec<_> = wrong.map(|wrong| ("authorization", wrong)).into_iter().collect();
            let answer = place.send(method, &path, &headers, "").await;
            assert_eq!(
                (answer.status, answer.problem().0.as_str()),
                (401, "unauthorized"),
                "{method} {path} {wrong:?}"
            );
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            assert!(!answer.text().contains("correct-horse"));
        }
    }
    for public in ["/healthz", "/readyz", "/openapi.json", "/docs", "/login"] {
        assert_eq!(place.get(public).await.status, 200, "{public}");
    }
    let task = place.send("GET", &format!("/api/v1/tasks/{id}"), &known, "").await;
    assert_eq!((task.status, task.json()["state"].as_str().unwrap()), (200, "saved"));
    place.end().await;
}

#[tokio::test]
async fn a_browser_signs_in_with_the_token() {
    let place = guarded().await;
    let sent_away = place.send("GET", "/", &[("accept", "text/html")], "").await;
    assert_eq!((sent_away.status, sent_away.header("location")), (303, "/login"));
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept", "text/html"),
    ];
    let wrong = place.send("POST", "/login", &form, "token=wrong").await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, ""));
    assert!(wrong.text().contains("not a token"));
    let right = place.send("POST", "/login", &form, format!("token={TOKEN}")).await;
    assert_eq!(right.status, 303);
    let cookie = right.header("set-cookie").to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Max-Age="] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN));
    let pair = cookie.split(';').next().unwrap();
    let home = place
        .send("GET", "/", &[("accept", "text/html"), ("cookie", pair)], "")
        .await;
    assert_eq!(home.status, 200);
    assert_eq!(
        place.send("GET", "/api/v1/tasks", &[("cookie", pair)], "").await.status,
        200
    );
    let forged = place
        .send("GET", "/", &[("cookie", "hybrid_cache_session=99999999999.00")], "")
        .await;
    assert_eq!(forged.status, 401);
    place.end().await;
}

#[tokio::test]
async fn pages_of_other_sites_reach_nothing() {
    let place = place::start().await;
    let id = place.saved("print x").await;
    let run = format!("/api/v1/tasks/{id}/run");
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let answer = place.send("POST", &run, &[(name, value)], "").await;
        assert_eq!(
            (answer.status, answer.problem().0.as_str()),
            (403, "cross_site"),
            "{name}: {value}"
        );
    }
    assert_eq!(place.task(&id).await["state"], "saved");
    let rebound = place
        .send("GET", "/api/v1/tasks", &[("host", "evil.example")], "")
        .await;
    assert_eq!(
        (rebound.status, rebound.problem().0.as_str()),
        (421, "misdirected_request")
    );
    let own = format!("http://{}", place.address);
    assert_eq!(place.send("POST", &run, &[("origin", &own)], "").await.status, 202);
    // No header allows another origin to read the response.
    let read = place
        .send("GET", "/api/v1/tasks", &[("origin", "http://evil.example")], "")
        .await;
    assert!(
        read.headers
            .keys()
            .all(|name| !name.as_str().starts_with("access-control"))
    );
    place.until(&id, "ended").await;
    place.end().await;
}

#[tokio::test]
async fn every_response_carries_its_headers() {
    let place = place::start().await;
    let id = place.saved("print x").await;
    for path in [
        "/",
        "/docs",
        "/api/v1/tasks",
        "/nothing",
        "/metrics",
        &format!("/tasks/{id}"),
        "/api/v1/tasks?limit=x",
    ] {
        let answer = place.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        if answer.header("content-type").starts_with("text/html") {
            let page = answer.text();
            assert!(
                !page.contains("<style") && !page.contains(" style="),
                "{path} has nothing inline"
            );
            let scripted = |attribute: &str| page.contains(&format!(" on{attribute}="));
            assert!(
                !["click", "load", "submit", "change", "error"].into_iter().any(scripted),
                "{path}"
            );
            assert!(
                page.matches("<script").count() == 1 && page.contains("<script src=\"/assets/live-"),
                "{path}"
            );
        }
    }
    let named = place.send("GET", "/healthz", &[("x-request-id", "ours-1")], "").await;
    assert_eq!(named.header("x-request-id"), "ours-1");
    let strange = place
        .send("GET", "/healthz", &[("x-request-id", "a b\"<script>")], "")
        .await;
    assert!(!strange.header("x-request-id").contains('<'));
    place.end().await;
}

/// Captures the log.
#[derive(Clone, Default)]
struct Kept(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn user_text_is_not_in_the_log() {
    let kept = Kept::default();
    let writer = kept.clone();
    // Of the whole process, the database's own thread and all other tests included: they know nothing of zebras.
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    log.try_init().unwrap();
    let place = place::start().await;
    let body = serde_json::json!({"pythonCode": "print zebra\nerr zebra\nexit 3", "dependencies": "zebra", "systemDependencies": "zebra"});
    let answer = place.submit(body.to_string()).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    place.post(&format!("/api/v1/tasks/{id}/run")).await;
    place.until(&id, "ended").await;
    place.get("/zebra?zebra=zebra").await;
    place.get("/api/v1/tasks/zebra?zebra").await;
    place.submit("{\"zebra\": 1}").await;
    place
        .submit("{\"pythonCode\": \"1\", \"dependencies\": \"--zebra\"}")
        .await;
    let headers = [
        ("x-request-id", "zebra zebra"),
        ("user-agent", "zebra"),
        ("content-type", "application/json"),
    ];
    place.send("POST", "/api/v1/tasks/submit", &headers, "zebra").await;
    place.end().await;
    let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains(&id) && text.contains("answered"), "{text}");
    assert!(!text.contains("zebra"), "{text}");
}
