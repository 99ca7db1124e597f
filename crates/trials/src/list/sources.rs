//! Attacks with requirements that name places which the operator does not allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hybrid_cache_model::{End, Protection, TaskSpec};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::AttackContext;
use crate::error::TrialError;
use crate::local_caches::LocalCaches;
use crate::site::LOCAL;
use crate::verdict::Verdict;
use crate::wheel::Wheel;

pub const ATTACKS: &[Attack] = &[Attack {
    id: "name-a-place-that-is-not-allowed",
    promise: Protection::NamedSources,
    tries: "Tasks name another index, another host and another repository, and an allowed host that leads on to another one.",
    sites: LOCAL,
    needs: &[],
    layers: &[],
    method: AttackMethod::Steps(|ground| Box::pin(names_other_places(ground))),
}];

/// A server of this machine that counts connections and gives everybody the same answer. It ends when it is dropped.
struct Place {
    host: String,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Place {
    async fn open(answer: String) -> Result<Place, TrialError> {
        let failed = || TrialError::io("listening on loopback");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed())?;
        let host = listener.local_addr().map_err(failed())?.to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                // The client may leave early.
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Ok(Place {
            host,
            connections,
            serving,
        })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

const WHEEL: &str = "six-1.0-py3-none-any.whl";

/// Requirements files and constraints. `open` is allowed, `closed` is not.
fn texts(open: &str, closed: &str) -> Vec<(String, String)> {
    let commit = "a".repeat(40);
    let mut files = Vec::new();
    for option in ["-i", "--index-url", "--extra-index-url", "--find-links"] {
        files.push(format!("{option} http://{closed}/simple\nsix\n"));
    }
    for address in [
        format!("http://{closed}/{WHEEL}"),
        format!("https://{closed}/{WHEEL}"),
        format!("http://{open}@{closed}/{WHEEL}"),
        format!("http://{open}/{WHEEL}"),
        format!("git+http://{closed}/team/six@{commit}"),
        format!("git+http://{open}/teams/six@{commit}"),
        format!("git+http://{open}/team/../../{closed}/six@{commit}"),
        format!("git+http://{open}@{closed}/team/six@{commit}"),
    ] {
        files.push(format!("six @ {address}\n"));
    }
    files.push(format!("http://{closed}/{WHEEL}\n"));
    let mut texts: Vec<(String, String)> = files.into_iter().map(|file| (file, String::new())).collect();
    texts.push(("six\n".to_owned(), format!("-i http://{closed}/simple\n")));
    texts
}

async fn names_other_places(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let nothing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let closed = Place::open(nothing.to_owned()).await?;
    let onwards = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{}/{WHEEL}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        closed.host
    );
    let open = Place::open(onwards).await?;
    let caches = ground.local_caches(&[Wheel::module("six", "1.0", "")]).await?;
    let caches = caches.with(&json!({"sources": {
        "wheel_hosts": [open.host],
        "git_repositories": [format!("http://{}/team", open.host)],
    }}))?;
    let mut found = Vec::new();
    for (file, constraints) in texts(&open.host, &closed.host) {
        found.extend(tried(&caches, &closed, file, constraints).await?);
    }
    if open.connections() == 0 {
        return Err(TrialError::Other("the host that is allowed was never asked".to_owned()));
    }
    Ok(Verdict::held_if_none(&found))
}

/// Runs a task that names a place. A refusal is what should happen.
async fn tried(
    caches: &LocalCaches,
    closed: &Place,
    requirements_file: String,
    constraints: String,
) -> Result<Option<String>, TrialError> {
    let text = requirements_file.trim().to_owned();
    let before = closed.connections();
    let spec = TaskSpec {
        requirements_file,
        constraints,
        ..TaskSpec::new("print(1)")
    };
    let ran = match caches.caches.run(&spec).await {
        Ok(ran) => Some(ran),
        Err(TrialError::Driver(_)) => None,
        Err(other) => return Err(other),
    };
    let is_run = ran.is_some_and(|ran| matches!(ran.outcome.end, End::Exited { .. }));
    Ok(match (is_run, closed.connections() > before) {
        (_, true) => Some(format!("{text:?} made a connection to a place that is not allowed")),
        (true, false) => Some(format!("{text:?} ran")),
        (false, false) => None,
    })
}
