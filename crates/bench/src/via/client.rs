//! A client of the task API: one function for each call, and a deadline on every wait.

use std::io::{BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use hybrid_cache_model::TaskSpec;
use hybrid_cache_tools::{Error, Result};
use serde::Deserialize;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::answer::TaskAnswer;
use super::events::Events;
use super::problem::ClientError;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for an answer: longer than the service's own limit.
const ANSWER: Duration = Duration::from_secs(75);
/// Longest silence of a service during a follow: it sends a sign of life every 15 s.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest time for one follow request; the client then sends another one.
const FOLLOW: Duration = Duration::from_secs(900);
/// Longest idle time of a connection that is used again: the service closes one after 10 s.
const REST: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 32 << 20;

/// A client of a task service.
pub struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

#[derive(Deserialize)]
struct Submitted {
    id: String,
}

#[derive(Clone, Copy)]
enum Method<'a> {
    Get,
    /// A follow request. Signs of life arrive as long as the task runs, so the request needs its own time limit.
    Follow,
    Delete,
    Post,
    /// A request with a JSON body, and an Idempotency-Key if there is one.
    PostJson(&'a [u8], Option<&'a str>),
}

impl Client {
    /// Checks the address and reads the token; sends no request yet.
    ///
    /// # Errors
    /// The address or the token cannot be used.
    pub fn new(url: &str, token_file: Option<&Path>) -> Result<Client> {
        Client::within(url, token_file, ANSWER)
    }

    /// Creates a client with another time limit for each answer.
    ///
    /// # Errors
    /// The same as those of [`Client::new`].
    pub fn within(url: &str, token_file: Option<&Path>, answer: Duration) -> Result<Client> {
        let base = checked(url)?;
        let authorization = token_file.map(read_token).transpose()?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(answer))
            .timeout_per_read(Some(SILENCE))
            .max_idle_age(REST);
        if is_local(&base) {
            // For a proxy, localhost would be the proxy's machine.
            config = config.proxy(None);
        }
        Ok(Client {
            agent: config.build().into(),
            base,
            authorization,
        })
    }

    /// The address without a slash at its end.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Saves a task and returns its id.
    pub fn submit(&self, spec: &TaskSpec) -> Result<String, ClientError> {
        self.submit_as(spec, None)
    }

    /// Saves a task under a key: sending it again with the same key returns the same task.
    pub fn submit_as(&self, spec: &TaskSpec, key: Option<&str>) -> Result<String, ClientError> {
        let body = serde_json::to_vec(spec).map_err(|error| self.foreign(error))?;
        let answer = self.ask("/api/v1/tasks/submit", Method::PostJson(&body, key))?;
        Ok(self.json::<Submitted>(answer)?.id)
    }

    /// A page of the list of tasks after a cursor, the last submitted task first; `filter` is added to the query, such as
    /// `&state=ended`.
    pub fn list<T: serde::de::DeserializeOwned>(&self, filter: &str, cursor: Option<&str>) -> Result<T, ClientError> {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let answer = self.ask(&format!("/api/v1/tasks?limit=200{filter}{cursor}"), Method::Get)?;
        self.json(answer)
    }

    /// Puts a task into the queue.
    pub fn run(&self, id: &str) -> Result<(), ClientError> {
        self.done(&format!("/api/v1/tasks/{id}/run"), Method::Post)
    }

    /// Follows a task's output live from a position until the task ends.
    pub fn follow(&self, id: &str, from: u64) -> Result<Events<impl Read + use<>>, ClientError> {
        let path = format!("/api/v1/tasks/{id}/logs?follow=true&from={from}");
        let answer = self.ask(&path, Method::Follow)?;
        Ok(Events::new(BufReader::new(answer.into_body().into_reader())))
    }

    /// Returns everything known about a task.
    pub fn task(&self, id: &str) -> Result<TaskAnswer, ClientError> {
        self.told(id)
    }

    /// Returns the fields of a task that `T` reads.
    pub fn told<T: serde::de::DeserializeOwned>(&self, id: &str) -> Result<T, ClientError> {
        let answer = self.ask(&format!("/api/v1/tasks/{id}"), Method::Get)?;
        self.json(answer)
    }

    /// Asks a task to end.
    pub fn cancel(&self, id: &str) -> Result<(), ClientError> {
        self.done(&format!("/api/v1/tasks/{id}/cancel"), Method::Post)
    }

    /// Deletes a task from the service.
    pub fn delete(&self, id: &str) -> Result<(), ClientError> {
        self.done(&format!("/api/v1/tasks/{id}"), Method::Delete)
    }

    /// Sends the smallest request that the API has.
    pub fn health(&self) -> Result<(), ClientError> {
        self.done("/healthz", Method::Get)
    }

    /// The service's metrics, in Prometheus' text format.
    pub fn metrics(&self) -> Result<String, ClientError> {
        let mut answer = self.ask("/metrics", Method::Get)?;
        self.body(&mut answer)
            .map(|body| String::from_utf8_lossy(&body).into_owned())
    }

    /// True if a connection to the service ends at an address of this machine.
    pub fn is_on_this_machine(&self) -> bool {
        let ends = |address: SocketAddr| {
            let stream = TcpStream::connect_timeout(&address, CONNECT).ok()?;
            Some(stream.local_addr().ok()?.ip() == stream.peer_addr().ok()?.ip())
        };
        let uri: Option<Uri> = self.base.parse().ok();
        let place = uri.as_ref().and_then(|uri| {
            let port = uri
                .port_u16()
                .unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            Some((bare_host(uri)?.to_owned(), port))
        });
        let addresses = place.and_then(|place| place.to_socket_addrs().ok());
        addresses.is_some_and(|mut addresses| addresses.find_map(ends).unwrap_or(false))
    }

    fn done(&self, path: &str, method: Method<'_>) -> Result<(), ClientError> {
        // Read the body to its end, so that the connection can be used again.
        self.body(&mut self.ask(path, method)?).map(drop)
    }

    fn ask(&self, path: &str, method: Method<'_>) -> Result<Response<Body>, ClientError> {
        let url = format!("{}{path}", self.base);
        let answered = match method {
            Method::Get => self.authorized(self.agent.get(&url)).call(),
            Method::Follow => {
                let request = self.authorized(self.agent.get(&url)).config();
                request.timeout_recv_body(Some(FOLLOW)).build().call()
            }
            Method::Delete => self.authorized(self.agent.delete(&url)).call(),
            Method::Post => self.authorized(self.agent.post(&url)).send_empty(),
            Method::PostJson(body, key) => {
                let request = self.authorized(self.agent.post(&url));
                let request = request.header("content-type", "application/json");
                match key {
                    Some(key) => request.header("idempotency-key", key).send(body),
                    None => request.send(body),
                }
            }
        };
        let mut answer = answered.map_err(|error| self.unreachable(error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let retry_after = answer.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let status = answer.status().as_u16();
        let body = self.body(&mut answer).unwrap_or_default();
        Err(ClientError::of(&self.base, status, retry_after, &body))
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    fn body(&self, answer: &mut Response<Body>) -> Result<Vec<u8>, ClientError> {
        let body = answer.body_mut().with_config().limit(MAX_ANSWER);
        body.read_to_vec().map_err(|error| self.unreachable(error))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, mut answer: Response<Body>) -> Result<T, ClientError> {
        let body = self.body(&mut answer)?;
        serde_json::from_slice(&body).map_err(|error| self.foreign(error))
    }

    fn unreachable(&self, why: impl ToString) -> ClientError {
        ClientError::Unreachable {
            url: self.base.clone(),
            why: why.to_string(),
        }
    }

    /// The error for an answer that does not come from a task service.
    pub fn foreign(&self, what: impl ToString) -> ClientError {
        ClientError::Foreign {
            url: self.base.clone(),
            what: what.to_string(),
        }
    }
}

/// Checks that an address can be used and may appear in a report.
fn checked(url: &str) -> Result<String> {
    let refuse = |why: &str| {
        let hint = "give scheme, host and port, such as http://localhost:8000";
        Err(Error::input(format!("--service-url: {why}\nhint: {hint}")))
    };
    let Ok(uri) = url.parse::<Uri>() else {
        return refuse("this is no address");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return refuse("the address begins with neither http:// nor https://");
    }
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if authority.contains('@') {
        return refuse(
            "the address holds a name or password, which would stand in the report; a token goes into --token-file",
        );
    }
    if uri.query().is_some() || url.contains('#') {
        return refuse("the address has something behind its path");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn bare_host(uri: &Uri) -> Option<&str> {
    uri.host()
        .map(|host| host.trim_start_matches('[').trim_end_matches(']'))
}

fn is_local(base: &str) -> bool {
    let uri: Option<Uri> = base.parse().ok();
    let host = uri.as_ref().and_then(bare_host).unwrap_or_default();
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Reads the Authorization header; no message contains the file's text.
fn read_token(file: &Path) -> Result<String> {
    let refuse = |why: String| Error::input(format!("--token-file {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refuse("one line of visible ASCII characters is expected".to_owned()));
    }
    Ok(format!("Bearer {token}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hybrid_cache_tools::ErrorClass;

    #[test]
    fn an_address_must_name_a_service_and_nothing_secret() {
        assert_eq!(checked("http://localhost:8000/").unwrap(), "http://localhost:8000");
        assert_eq!(checked("https://host/tasks/").unwrap(), "https://host/tasks");
        for wrong in [
            "localhost:8000",
            "ftp://host",
            "http://me:secret@host",
            "http://host/?a=b",
            "http://h ost",
            "",
        ] {
            let error = checked(wrong).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Input, "{wrong}");
            let told = error.to_string();
            assert!(told.contains("hint: ") && !told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn a_loopback_address_is_asked_without_a_proxy() {
        for here in ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"] {
            assert!(is_local(here), "{here}");
        }
        assert!(!is_local("http://localhost.example:1"));
    }

    #[test]
    fn a_token_is_one_line_and_stays_out_of_every_message() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, " 0123\n").unwrap();
        assert_eq!(read_token(&file).unwrap(), "Bearer 0123");
        std::fs::write(&file, "secret one\nsecret two").unwrap();
        let error = read_token(&file).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Input);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
