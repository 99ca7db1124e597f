//! The calls in docs/api.md, word for word: each with curl against a service on this machine's driver.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::local::{LocalConfig, LocalDriver};
use hybrid_cache_service::http::{Access, App, HttpConfig, Server};
use hybrid_cache_service::{Engine, ServiceConfig};
use tokio::process::Command;
use tokio::time::timeout;

/// Names the file with this machine's configuration; `cargo xtask test` writes it.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_LOCAL_CONFIG";
const DOCUMENT: &str = include_str!("../../../../docs/api.md");
/// The first one downloads numpy.
const PATIENCE: Duration = Duration::from_secs(240);

/// Each command with what it prints.
fn examples() -> Vec<(String, String)> {
    let blocks = DOCUMENT.split("```console\n$ ").skip(1);
    let parts = blocks.map(|block| block.split("```").next().unwrap().split_once('\n').unwrap());
    parts
        .map(|(command, printed)| (command.to_owned(), printed.to_owned()))
        .collect()
}

/// Replaces every task's id by the document's.
fn with_the_documents_id(text: &str, id: &str) -> String {
    if id.is_empty() {
        text.to_owned()
    } else {
        text.replace(id, "task-abc123")
    }
}

/// Joins neighbouring events of one stream: how a program's output is split is chance.
fn merged(printed: &str) -> String {
    let mut blocks: Vec<String> = Vec::new();
    for block in printed.split("\n\n") {
        let parts = |block: &str| -> Option<(String, String)> {
            let (head, data) = block.split_once("\ndata: ")?;
            let (_, stream) = head.strip_prefix("id: ")?.split_once("\nevent: ")?;
            Some((stream.to_owned(), serde_json::from_str(data).ok()?))
        };
        let before = blocks.last().and_then(|last| parts(last));
        match (before, parts(block)) {
            (Some((stream, begun)), Some((same, more))) if stream == same => {
                let head = block.split("\ndata: ").next().unwrap();
                let data = serde_json::Value::from(begun + &more);
                *blocks.last_mut().unwrap() = format!("{head}\ndata: {data}");
            }
            _ => blocks.push(block.to_owned()),
        }
    }
    blocks.join("\n\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_curl_calls_print_what_is_documented() {
    const NAME: &str = "the_documented_curl_calls_print_what_is_documented";
    let Some(file) = std::env::var_os(CONFIG_VARIABLE) else {
        println!("skipped: {NAME}: {CONFIG_VARIABLE} is not set; `cargo xtask test` sets it");
        return;
    };
    if Command::new("curl").arg("--version").output().await.is_err() {
        println!("skipped: {NAME}: there is no curl");
        return;
    }
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", Path::new(&file).display()));
    let config: LocalConfig = serde_json::from_slice(&text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let driver = Arc::new(LocalDriver::open(config).unwrap());
    let engine = Engine::open(ServiceConfig::new(folder.path().join("service")), driver)
        .await
        .unwrap();
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address().unwrap();
    let app = App::new(engine.clone(), HttpConfig::new(Access::Local)).unwrap();
    tokio::spawn(server.serve(app, std::future::pending(), Duration::ZERO));

    let examples = examples();
    assert_eq!(examples.len(), 4);
    let mut id = String::new();
    for (command, expected) in examples {
        let own = command.replace("localhost:8000", &format!("localhost:{}", address.port()));
        let own = if id.is_empty() {
            own
        } else {
            own.replace("task-abc123", &id)
        };
        // Use no proxy of this machine.
        let run = Command::new("sh")
            .args(["-c", &own])
            .env("NO_PROXY", "*")
            .env("no_proxy", "*")
            .output();
        let output = timeout(PATIENCE, run).await.expect("an answer in time").unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        if id.is_empty() {
            let answer: serde_json::Value =
                serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
            answer["id"].as_str().unwrap().clone_into(&mut id);
        }
        let printed = with_the_documents_id(&printed, &id);
        // curl prints no line break behind what has none.
        assert_eq!(merged(&printed).trim_end(), expected.trim_end(), "{command}");
    }
    engine.shutdown(Duration::from_secs(5)).await;
}
