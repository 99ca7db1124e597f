//! A task service on loopback for a trial, and a client that can send malformed requests.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_service::http::{Access, App, HttpConfig, Server};
use hybrid_cache_service::{Engine, ServiceConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::caches::within;
use crate::error::TrialError;

/// Deadline of an answer, and of the service's shutdown.
const PATIENCE: Duration = Duration::from_secs(20);
/// No answer is read beyond this, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// A service that runs in this process.
pub struct TrialService {
    /// Where it listens.
    pub address: SocketAddr,
    engine: Engine,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// What a service answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status; 0 if the connection was closed unanswered.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// True for an answer of the kind 2xx.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl TrialService {
    /// Starts it with its data in `folder`.
    ///
    /// # Errors
    /// No port is free, or the folder cannot be used.
    pub async fn start(driver: Arc<dyn Driver>, folder: &Path, access: Access) -> Result<TrialService, TrialError> {
        let failed = || TrialError::io("starting a service");
        let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .map_err(failed())?;
        let address = server.address().map_err(failed())?;
        let opened = Engine::open(ServiceConfig::new(folder), driver).await;
        let engine = opened.map_err(|error| TrialError::Other(format!("the service cannot be opened: {error}")))?;
        let app = App::new(engine.clone(), HttpConfig::new(access)).map_err(failed())?;
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            // A dropped sender ends it as well.
            let stopped = async { drop(stopped.await) };
            server.serve(app, stopped, Duration::from_secs(1)).await;
        });
        Ok(TrialService {
            address,
            engine,
            stop,
            served,
        })
    }

    /// Ends it with all its tasks.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(self) -> Result<(), TrialError> {
        drop(self.stop);
        let failed = |error: tokio::task::JoinError| TrialError::Other(format!("the service broke: {error}"));
        within("the end of a service", PATIENCE, self.served)
            .await?
            .map_err(failed)?;
        within(
            "the end of a service",
            PATIENCE,
            self.engine.shutdown(Duration::from_secs(1)),
        )
        .await?;
        Ok(())
    }

    /// Sends a request and reads the whole answer: see [`ask_at`].
    ///
    /// # Errors
    /// The service cannot be reached or does not answer in time.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response, TrialError> {
        ask_at(self.address, method, path, headers, body).await
    }

    /// Submits a task and runs it; its id.
    ///
    /// # Errors
    /// It is refused.
    pub async fn submit(&self, headers: &[(&str, &str)], code: &str) -> Result<String, TrialError> {
        let body = serde_json::json!({"pythonCode": code}).to_string();
        let answer = self.ask("POST", "/api/v1/tasks/submit", headers, &body).await?;
        let id = answer.json()["id"].as_str().map(str::to_owned);
        let refused = || {
            TrialError::Other(format!(
                "the service refused a task with {}: {}",
                answer.status, answer.body
            ))
        };
        let id = id.ok_or_else(refused)?;
        self.ask("POST", &format!("/api/v1/tasks/{id}/run"), headers, "")
            .await?;
        Ok(id)
    }

    /// Waits until a task has ended; what is known of it then.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(&self, headers: &[(&str, &str)], id: &str) -> Result<Value, TrialError> {
        let wait = async {
            loop {
                let view = self
                    .ask("GET", &format!("/api/v1/tasks/{id}"), headers, "")
                    .await?
                    .json();
                if view["state"] == "ended" || view["state"] == "cancelled" {
                    return Ok(view);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("a task of the service", PATIENCE, wait).await?
    }
}

/// Sends a request to a service and reads the whole answer. `headers` come after the Host header, which is this service's own
/// unless one of them is a Host header.
///
/// # Errors
/// The service cannot be reached or does not answer in time.
pub async fn ask_at(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Response, TrialError> {
    let has_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = if has_host {
        String::new()
    } else {
        format!("Host: localhost:{}\r\n", address.port())
    };
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}{lines}Content-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut text = Vec::new();
        // A service that refuses may reset the connection; what came before that is its answer.
        let _ = stream.take(MOST_BYTES).read_to_end(&mut text).await;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = within("an answer of the service", PATIENCE, talk)
        .await?
        .map_err(TrialError::io("asking the service"))?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    Ok(Response {
        status,
        body: dechunked(head, body),
    })
}

/// The body of an answer, its chunks put together if it came in chunks.
fn dechunked(head: &str, body: &str) -> String {
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = more.get(..size).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        whole.push_str(chunk);
        rest = more.get(size..).unwrap_or_default().trim_start_matches("\r\n");
    }
    whole
}
