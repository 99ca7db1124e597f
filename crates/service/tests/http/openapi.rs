//! The OpenAPI document matches the handlers and their responses.

use std::path::Path;

use hybrid_cache_service::http::OPENAPI;
use hybrid_cache_service::http::openapi::generate;
use serde_json::{Value, json};

use super::place;

#[test]
fn the_committed_openapi_matches_the_handlers() {
    let generated = generate().unwrap();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        std::fs::write(file, &generated).unwrap();
        return;
    }
    assert!(
        generated == OPENAPI,
        "openapi.json is not what the handlers say; `UPDATE_OPENAPI=1 cargo test -p hybrid-cache-service --test http openapi` writes it"
    );
}

#[test]
fn every_429_and_503_of_the_description_carries_retry_after() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut count = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                if ["429", "503"].contains(&status.as_str()) {
                    assert!(
                        response["headers"]["Retry-After"].is_object(),
                        "{method} {path} {status}"
                    );
                    count += 1;
                }
            }
        }
    }
    assert!(count > 10);
}

/// The schema of a response, with everything that it refers to.
fn schema(document: &Value, path: &str, method: &str, status: &str, media_type: &str) -> Value {
    let response = &document["paths"][path][method]["responses"][status];
    let content = &response["content"][media_type]["schema"];
    assert!(content.is_object(), "{path} {method} {status} {media_type}: {response}");
    let mut schema = content.clone();
    schema["components"] = document["components"].clone();
    schema
}

fn check(document: &Value, answer: &place::Answer, path: &str, method: &str) {
    let status = answer.status.to_string();
    let media_type = answer.header("content-type").split(';').next().unwrap();
    let schema = schema(document, path, method, &status, media_type);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let json = answer.json();
    let errors: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{path} {method} {status}: {errors:?}\n{json:#}");
}

/// Every field of a response must be described, or a client would not know it.
fn check_described(document: &Value, json: &Value) {
    let schemas = &document["components"]["schemas"];
    let mut known = vec![];
    for name in ["TaskView", "TaskSummary"] {
        let schema = &schemas[name];
        let parts = schema["allOf"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![schema.clone()]);
        for part in parts {
            known.extend(
                part["properties"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name.clone()),
            );
        }
    }
    for name in json.as_object().unwrap().keys() {
        assert!(known.contains(name), "{name} is not described; {known:?}");
    }
}

#[tokio::test]
async fn responses_match_the_openapi_document() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let place = place::start().await;
    let submit = place
        .submit(json!({"pythonCode": "print a\nexit 3", "dependencies": "numpy"}).to_string())
        .await;
    check(&document, &submit, "/api/v1/tasks/submit", "post");
    let id = submit.json()["id"].as_str().unwrap().to_owned();
    let run = place.post(&format!("/api/v1/tasks/{id}/run")).await;
    check(&document, &run, "/api/v1/tasks/{id}/run", "post");
    place.until(&id, "ended").await;
    let task = place.get(&format!("/api/v1/tasks/{id}")).await;
    check(&document, &task, "/api/v1/tasks/{id}", "get");
    check_described(&document, &task.json());
    check(&document, &place.get("/api/v1/tasks").await, "/api/v1/tasks", "get");
    let cancel = place.post(&format!("/api/v1/tasks/{id}/cancel")).await;
    check(&document, &cancel, "/api/v1/tasks/{id}/cancel", "post");
    for body in ["{", "{}", "{\"pythonCode\": \"1\", \"dependencies\": \"-r x\"}"] {
        check(&document, &place.submit(body).await, "/api/v1/tasks/submit", "post");
    }
    check(
        &document,
        &place.get("/api/v1/tasks?limit=x").await,
        "/api/v1/tasks",
        "get",
    );
    check(
        &document,
        &place.get("/api/v1/tasks/task-none").await,
        "/api/v1/tasks/{id}",
        "get",
    );
    check(&document, &place.get("/healthz").await, "/healthz", "get");
    check(&document, &place.get("/readyz").await, "/readyz", "get");
    assert_eq!(place.get("/openapi.json").await.text(), OPENAPI);
    let docs = place.get("/docs").await.text();
    for name in [
        "submitTask",
        "/api/v1/tasks/{id}/logs",
        "id=\"invalid_task\"",
        "id=\"schema-TaskView\"",
    ] {
        assert!(docs.contains(name), "{name}");
    }
    assert!(
        !docs.contains("https://") && !docs.contains("http://"),
        "the reference asks nobody else"
    );
    place.end().await;
}
