//! A blocking client of the task API: one method for each request, with a time limit on every wait.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use hybrid_cache_model::TaskSpec;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder};

use crate::address;
use crate::error::{ClientError, ConfigError};
use crate::events::StreamName;
use crate::id::TaskId;
use crate::list::{ListQuery, TaskList};
use crate::responses::{CancelView, Probe, RunView, SubmitAnswer};
use crate::stream::Events;
use crate::task::TaskView;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the head of a response by default. The service gives up after 60 s itself.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(75);
/// Longest silence within a body. A service that is followed sends a comment every 15 s.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that one response is read. Whoever follows a longer task follows again.
const BODY_TIMEOUT: Duration = Duration::from_secs(900);
/// A connection that was idle for longer is not used again: the service closes it after 10 s.
const MAX_IDLE: Duration = Duration::from_secs(5);
/// Largest response that is read into memory, in bytes.
const MAX_RESPONSE_BYTES: u64 = 32 << 20;

/// Settings of a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    base: String,
    authorization: Option<String>,
    response_timeout: Duration,
}

/// A client of one task service. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

/// The authorization stays out of it.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// Which part of a task's output to read; everything by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputQuery {
    /// Only this stream; both in their order if absent.
    pub stream: Option<StreamName>,
    /// Bytes of both streams to skip.
    pub from: u64,
}

impl ClientBuilder {
    /// Sends this token with every request.
    ///
    /// # Errors
    /// The token is not one line of visible ASCII characters.
    pub fn token(self, token: &str) -> Result<ClientBuilder, ConfigError> {
        Ok(ClientBuilder {
            authorization: Some(address::authorization(token)?),
            ..self
        })
    }

    /// Sends the token in this file with every request.
    ///
    /// # Errors
    /// The file cannot be read, or holds no token.
    pub fn token_file(self, file: &Path) -> Result<ClientBuilder, ConfigError> {
        Ok(ClientBuilder {
            authorization: Some(address::authorization_from(file)?),
            ..self
        })
    }

    /// Waits at most this long for the head of a response; 75 s by default, which is more than the service needs.
    #[must_use]
    pub fn response_timeout(self, timeout: Duration) -> ClientBuilder {
        ClientBuilder {
            response_timeout: timeout,
            ..self
        }
    }

    /// The client. It connects with its first request.
    pub fn build(self) -> Client {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_send_body(Some(self.response_timeout))
            .timeout_recv_response(Some(self.response_timeout))
            .timeout_recv_body(Some(BODY_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .max_idle_age(MAX_IDLE);
        if address::is_loopback(&self.base) {
            // To a proxy, localhost is the proxy's own machine.
            config = config.proxy(None);
        }
        Client {
            agent: config.build().into(),
            base: self.base,
            authorization: self.authorization,
        }
    }
}

impl Client {
    /// A client of the service at this address, such as `http://localhost:8000`, without a token.
    ///
    /// # Errors
    /// The address is not an HTTP address, or holds a password, a query or a fragment.
    pub fn new(url: &str) -> Result<Client, ConfigError> {
        Client::builder(url).map(ClientBuilder::build)
    }

    /// Settings of a client of the service at this address.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn builder(url: &str) -> Result<ClientBuilder, ConfigError> {
        Ok(ClientBuilder {
            base: address::check(url)?,
            authorization: None,
            response_timeout: RESPONSE_TIMEOUT,
        })
    }

    /// The address without a slash at its end.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The host (an IPv6 address without brackets) and the port that the client connects to, if no proxy is in between.
    pub fn host_and_port(&self) -> (String, u16) {
        address::host_and_port(&self.base)
    }

    /// Saves a task. It does not run before [`Client::run`]. Submitting the same task again under the same idempotency key
    /// (1 to 255 visible ASCII characters) gives the same task, so a request without a response can be repeated.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn submit(&self, spec: &TaskSpec, idempotency_key: Option<&str>) -> Result<SubmitAnswer, ClientError> {
        let body = serde_json::to_vec(spec).map_err(|error| self.foreign(error))?;
        let mut request = self
            .post("/api/v1/tasks/submit")
            .header("content-type", "application/json");
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.read_json(request.send(&body))
    }

    /// Puts a task into the queue. Calling it again changes nothing: a task runs once.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn run(&self, id: &TaskId) -> Result<RunView, ClientError> {
        self.read_json(self.post(&format!("/api/v1/tasks/{id}/run")).send_empty())
    }

    /// Everything known of a task, with the beginning of its output.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get(&self, id: &TaskId) -> Result<TaskView, ClientError> {
        self.read_json(self.get_request(&format!("/api/v1/tasks/{id}")).call())
    }

    /// One page of the tasks, the one submitted last first. Pass [`TaskList::next`] as [`ListQuery::cursor`] for the next
    /// page.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list(&self, query: &ListQuery) -> Result<TaskList, ClientError> {
        let mut request = self.get_request("/api/v1/tasks");
        if !query.states.is_empty() {
            let names: Vec<_> = query.states.iter().map(|state| state.name()).collect();
            request = request.query("state", names.join(","));
        }
        if let Some(end) = query.end {
            request = request.query("end", end.name());
        }
        for (key, value) in &query.labels {
            request = request.query("label", format!("{key}={value}"));
        }
        if let Some(cursor) = &query.cursor {
            request = request.query("cursor", cursor);
        }
        if let Some(limit) = query.limit {
            request = request.query("limit", limit.to_string());
        }
        self.read_json(request.call())
    }

    /// Cancels a task: one that waits never runs, and one that runs is asked to end.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn cancel(&self, id: &TaskId) -> Result<CancelView, ClientError> {
        self.read_json(self.post(&format!("/api/v1/tasks/{id}/cancel")).send_empty())
    }

    /// Deletes a task with its output. One that waits or runs must be cancelled first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn delete(&self, id: &TaskId) -> Result<(), ClientError> {
        let url = self.path(&format!("/api/v1/tasks/{id}"));
        let mut response = self.checked(self.authorized(self.agent.delete(url)).call())?;
        // Read to its end, so that the connection can be used again.
        self.body(&mut response).map(drop)
    }

    /// What a task has printed so far, as a reader. Nothing is held in memory; each read waits at most 60 s, the whole
    /// response at most 15 min.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn output(&self, id: &TaskId, query: OutputQuery) -> Result<impl Read + Send + use<>, ClientError> {
        let request = self.logs(id, query);
        let response = self.checked(request.call())?;
        Ok(response.into_body().into_reader())
    }

    /// What a task prints, as events, until it ends. One connection lasts at most 15 min: follow again from the last
    /// `next` when it ends without [`Event::End`](crate::Event::End).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn follow(&self, id: &TaskId, query: OutputQuery) -> Result<Events, ClientError> {
        let request = self.logs(id, query).query("follow", "true");
        let response = self.checked(request.call())?;
        Ok(Events::new(response.into_body().into_reader()))
    }

    /// Checks that the service's process answers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn health(&self) -> Result<Probe, ClientError> {
        self.read_json(self.get_request("/healthz").call())
    }

    /// Checks that the service accepts tasks: [`ClientError::Busy`] if it does not.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn ready(&self) -> Result<Probe, ClientError> {
        self.read_json(self.get_request("/readyz").call())
    }

    /// The service's metrics in Prometheus' text format.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn metrics(&self) -> Result<String, ClientError> {
        let mut response = self.checked(self.get_request("/metrics").call())?;
        let body = self.body(&mut response)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// The Python packages of an ended task as a requirements file with hashes. Submitted again, it gives the same
    /// environment.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn lock(&self, id: &TaskId) -> Result<String, ClientError> {
        let mut response = self.checked(self.get_request(&format!("/api/v1/tasks/{id}/lock")).call())?;
        let body = self.body(&mut response)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn get_request(&self, path: &str) -> RequestBuilder<ureq::typestate::WithoutBody> {
        self.authorized(self.agent.get(self.path(path)))
    }

    fn post(&self, path: &str) -> RequestBuilder<ureq::typestate::WithBody> {
        self.authorized(self.agent.post(self.path(path)))
    }

    fn logs(&self, id: &TaskId, query: OutputQuery) -> RequestBuilder<ureq::typestate::WithoutBody> {
        let request = self.get_request(&format!("/api/v1/tasks/{id}/logs"));
        let request = request.query("from", query.from.to_string());
        match query.stream {
            Some(stream) => request.query("stream", stream.name()),
            None => request,
        }
    }

    fn authorized<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    /// The response, if its status is 2xx.
    fn checked(&self, answered: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, ClientError> {
        let mut response = answered.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let retry_after = response.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let status = response.status().as_u16();
        let body = self.body(&mut response).unwrap_or_default();
        Err(ClientError::from_response(&self.base, status, retry_after, &body))
    }

    fn body(&self, response: &mut Response<Body>) -> Result<Vec<u8>, ClientError> {
        let body = response.body_mut().with_config().limit(MAX_RESPONSE_BYTES);
        body.read_to_vec().map_err(|error| self.unreachable(error))
    }

    fn read_json<T: DeserializeOwned>(&self, answered: Result<Response<Body>, ureq::Error>) -> Result<T, ClientError> {
        let mut response = self.checked(answered)?;
        let body = self.body(&mut response)?;
        serde_json::from_slice(&body).map_err(|error| self.foreign(error))
    }

    fn unreachable(&self, reason: impl ToString) -> ClientError {
        ClientError::Unreachable {
            url: self.base.clone(),
            reason: reason.to_string(),
        }
    }

    fn foreign(&self, reason: impl ToString) -> ClientError {
        ClientError::Foreign {
            url: self.base.clone(),
            reason: reason.to_string(),
        }
    }
}
