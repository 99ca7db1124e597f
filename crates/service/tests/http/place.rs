//! A service on its own port, and a client for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hybrid_cache_service::http::{Access, App, HttpConfig, Server};
use hybrid_cache_service::{Backoff, Engine, ServiceConfig};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::scripted::Scripted;

/// How long anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running service. Its folder is deleted with it.
pub struct Place {
    pub address: SocketAddr,
    pub engine: Engine,
    pub app: App,
    pub driver: Arc<Scripted>,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<hybrid_cache_service::http::DrainResult>,
    folder: tempfile::TempDir,
}

/// A response that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code and pointer of a well-formed problem document.
    pub fn problem(&self) -> (String, Option<String>) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status);
        for field in ["type", "title", "detail", "instance"] {
            assert!(
                json[field].as_str().is_some_and(|text| !text.is_empty()),
                "{field}: {json}"
            );
        }
        (
            json["code"].as_str().unwrap().to_owned(),
            json["pointer"].as_str().map(str::to_owned),
        )
    }
}

/// A service with default settings.
pub async fn start() -> Place {
    start_with(|_| {}, |_| {}).await
}

/// A service with other settings.
pub async fn start_with(service: impl FnOnce(&mut ServiceConfig), http: impl FnOnce(&mut HttpConfig)) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let mut config = ServiceConfig::new(folder.path().join("service"));
    config.backoff = Backoff {
        first: Duration::from_millis(20),
        most: Duration::from_millis(100),
    };
    service(&mut config);
    let mut http_config = HttpConfig::new(Access::Local);
    http(&mut http_config);
    let driver = Arc::new(Scripted::with_process());
    let engine = Engine::open(config, driver.clone()).await.unwrap();
    let app = App::new(engine.clone(), http_config).unwrap();
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address().unwrap();
    let (end, ended) = oneshot::channel();
    let serving = tokio::spawn(server.serve(
        app.clone(),
        async {
            let _ = ended.await;
        },
        Duration::from_secs(5),
    ));
    Place {
        address,
        engine,
        app,
        driver,
        end: Some(end),
        serving,
        folder,
    }
}

impl Place {
    /// Where the service keeps its tasks.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Ends the service as Ctrl-C does.
    pub async fn end(mut self) -> hybrid_cache_service::http::DrainResult {
        let _ = self.end.take().unwrap().send(());
        let drained = timeout(PATIENCE, &mut self.serving).await.unwrap().unwrap();
        self.engine.shutdown(Duration::from_secs(1)).await;
        drained
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        send(self.address, method, path, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str) -> Answer {
        self.send("POST", path, &[], "").await
    }

    pub async fn submit(&self, body: impl Into<Vec<u8>>) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send("POST", "/api/v1/tasks/submit", &headers, body).await
    }

    /// Saves a task of this code and returns its id.
    pub async fn saved(&self, code: &str) -> String {
        let answer = self.submit(serde_json::json!({"pythonCode": code}).to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Saves and runs a task of this code and returns its id.
    pub async fn started(&self, code: &str) -> String {
        let id = self.saved(code).await;
        let answer = self.post(&format!("/api/v1/tasks/{id}/run")).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        id
    }

    pub async fn task(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/tasks/{id}")).await.json()
    }

    /// The task once it is in this state.
    pub async fn until(&self, id: &str, state: &str) -> Value {
        let waiting = async {
            loop {
                let task = self.task(id).await;
                if task["state"] == state {
                    return task;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("{id} never was {state}"))
    }
}

/// One request on its own connection.
pub async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Answer {
    let asking = async {
        let response = open(address, method, path, headers, body).await;
        let (head, body) = response.into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    };
    timeout(PATIENCE, asking).await.expect("an answer in time")
}

/// One request, whose body is still to be read.
pub async fn open(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> hyper::Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", address.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let body = http_body_util::Full::new(bytes::Bytes::from(body.into()));
    sender.send_request(request.body(body).unwrap()).await.unwrap()
}
