//! A double of a cluster behind kube's own client, for tests of the driver while the API server does not answer. It stores
//! Secrets and Jobs, runs each Job's pod to its end by itself, and sends changes to watches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use hyper::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::kube::tests::answers::{Answer, claims_of, status};

/// What the API server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Answers it.
    Answers,
    /// Refuses the connection.
    Refuses,
    /// Has been restarted and knows no rights yet.
    Forbids,
    /// Accepts it, and answers once it continues: its process is stopped.
    Silent,
}

/// What one task's pod leaves behind.
pub type Report = dyn Fn(&str) -> Value + Send + Sync;

/// The cluster.
#[derive(Clone)]
pub struct Double(Arc<Inner>);

struct Inner {
    world: Mutex<World>,
    mode: watch::Sender<Mode>,
    changed: watch::Sender<u64>,
    report: Box<Report>,
    /// Until a pod has ended.
    runs: Duration,
}

#[derive(Default)]
struct World {
    version: u64,
    /// By kind and name.
    objects: BTreeMap<(String, String), Value>,
    /// Version, kind, what happened, object.
    events: Vec<(u64, String, &'static str, Value)>,
    /// Names of all Jobs that were made.
    made: Vec<String>,
    /// Names of all pods that ran to their end.
    ran: Vec<String>,
    /// Verb, kind and name of every request.
    asked: Vec<(String, String, String)>,
    most_jobs: Option<usize>,
    /// How long a new pod has no node.
    full_for: Duration,
    /// How long a new pod's container then has not started.
    starts_after: Duration,
    log: PodLog,
    /// Claims whose volumes have no node, and what the scheduler says of their pods.
    lost: BTreeMap<String, String>,
    /// A pod gets its node while its Job is being deleted.
    binds_late: bool,
    /// Beginning of a pod's name, container, its log.
    logs: Vec<(String, String, String)>,
}

/// What every pod prints, and how many requests for it are lost.
#[derive(Clone, Default)]
pub struct PodLog {
    /// All of it.
    pub text: String,
    /// How many requests are lost: each sends a part, and then nothing, not even its end.
    pub lost: usize,
    /// Bytes of that part; `None` sends not even an answer.
    pub sent: Option<usize>,
}

/// What the scheduler says of a pod for which there is no room.
pub const NO_ROOM: &str = "0/1 nodes are available: 1 Insufficient cpu.";

type Streamed = UnsyncBoxBody<Bytes, Infallible>;

impl Double {
    /// One that answers; each pod runs for so long and leaves that report.
    pub fn new(runs: Duration, report: impl Fn(&str) -> Value + Send + Sync + 'static) -> Double {
        Double(Arc::new(Inner {
            world: Mutex::default(),
            mode: watch::Sender::new(Mode::Answers),
            changed: watch::Sender::new(0),
            report: Box::new(report),
            runs,
        }))
    }

    /// A client of it.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "tasks")
    }

    /// From now on it does this.
    pub fn set(&self, mode: Mode) {
        self.0.mode.send_replace(mode);
    }

    /// A quota of so many Jobs.
    pub fn allow_jobs(&self, most: usize) {
        self.world().most_jobs = Some(most);
    }

    /// From now on a new pod gets its node after so long.
    pub fn be_full_for(&self, long: Duration) {
        self.world().full_for = long;
    }

    /// From now on a new pod's container starts so long after it has its node.
    pub fn start_after(&self, long: Duration) {
        self.world().starts_after = long;
    }

    /// From now on a pod that mounts this claim gets no node, and the scheduler says why.
    pub fn lose(&self, claim: &str, why: &str) {
        self.world().lost.insert(claim.to_owned(), why.to_owned());
    }

    /// The claim's volume has a node again.
    pub fn restore(&self, claim: &str) {
        self.world().lost.remove(claim);
    }

    /// From now on a pod without a node gets one while its Job is being deleted.
    pub fn bind_late(&self) {
        self.world().binds_late = true;
    }

    /// From now on pods print this.
    pub fn print(&self, log: PodLog) {
        self.world().log = log;
    }

    /// What a container of pods with such names has in its log.
    pub fn says(&self, pods: &str, container: &str, log: &str) {
        let said = [pods, container, log].map(str::to_owned);
        self.world().logs.push(said.into());
    }

    /// A Job that exists.
    pub fn job(&self, name: &str) -> Option<Value> {
        self.world().objects.get(&("jobs".to_owned(), name.to_owned())).cloned()
    }

    /// The Jobs that were made, each name as often as it was.
    pub fn made(&self) -> Vec<String> {
        self.world().made.clone()
    }

    /// The Jobs whose pods ran.
    pub fn ran(&self) -> Vec<String> {
        self.world().ran.clone()
    }

    /// Objects of a kind that are there.
    pub fn there(&self, kind: &str) -> Vec<String> {
        let world = self.world();
        world
            .objects
            .keys()
            .filter(|(of, _)| of == kind)
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// What was asked so far: verb, kind and name.
    pub fn asked(&self) -> Vec<(String, String, String)> {
        self.world().asked.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, kind: &str, name: &str, what: &'static str, mut object: Value) -> Value {
        let mut world = self.world();
        world.version += 1;
        let version = world.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let key = (kind.to_owned(), name.to_owned());
        match what {
            "DELETED" => {
                world.objects.remove(&key);
            }
            _ => {
                world.objects.insert(key, object.clone());
            }
        }
        world.events.push((version, kind.to_owned(), what, object.clone()));
        drop(world);
        self.0.changed.send_replace(version);
        object
    }

    /// Controller, scheduler and kubelet in one. They continue while clients get no answer.
    async fn run_pod(self, job: Value) {
        let name = job["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let pod = format!("{name}-abcde");
        let labels = json!({"batch.kubernetes.io/job-name": name});
        let containers = &job["spec"]["template"]["spec"]["containers"];
        let prepares = containers
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one["name"] == "prepare");
        let show = |state: Value, phase: &str| {
            let status = |name: &str, state: &Value| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
            let mut statuses = vec![status("task", &state)];
            if prepares {
                let mut prepared = state.clone();
                if !prepared["terminated"].is_null() {
                    let published =
                        json!({"report": "published", "timeline": {"total_us": 1, "spans": []}, "ready_us": 1});
                    prepared["terminated"]["message"] = json!(published.to_string());
                }
                statuses.push(status("prepare", &prepared));
            }
            json!({
                "metadata": {"name": pod, "namespace": "tasks", "labels": labels},
                "spec": {"containers": [], "nodeName": "node"},
                "status": {"phase": phase, "containerStatuses": statuses},
            })
        };
        let full_for = self.world().full_for;
        if !full_for.is_zero() {
            let condition = json!({"type": "PodScheduled", "status": "False", "message": NO_ROOM});
            let waits = json!({
                "metadata": {"name": pod, "namespace": "tasks", "labels": labels}, "spec": {"containers": []},
                "status": {"phase": "Pending", "conditions": [condition]},
            });
            self.put("pods", &pod, "ADDED", waits);
            tokio::time::sleep(full_for).await;
        }
        if !self.has_node(&pod, &job, &labels).await {
            return;
        }
        let starts_after = self.world().starts_after;
        if !starts_after.is_zero() {
            // As recorded of a restarted node: without a reason.
            self.put("pods", &pod, "MODIFIED", show(json!({"waiting": {}}), "Pending"));
            tokio::time::sleep(starts_after).await;
        }
        self.put("pods", &pod, "MODIFIED", show(json!({"running": {}}), "Running"));
        tokio::time::sleep(self.0.runs).await;
        let message = (self.0.report)(&name).to_string();
        let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": message}});
        self.world().ran.push(name);
        self.put("pods", &pod, "MODIFIED", show(ended, "Succeeded"));
    }

    /// Waits until a claim that the pod mounts has a node. False if the pod was deleted before.
    async fn has_node(&self, pod: &str, job: &Value, labels: &Value) -> bool {
        let claims = claims_of(job);
        let lost = || {
            let world = self.world();
            claims.iter().find_map(|claim| world.lost.get(claim).cloned())
        };
        let Some(why) = lost() else { return true };
        let condition = json!({"type": "PodScheduled", "status": "False", "message": why});
        let waits = json!({
            "metadata": {"name": pod, "namespace": "tasks", "labels": labels}, "spec": {"containers": []},
            "status": {"phase": "Pending", "conditions": [condition]},
        });
        self.put("pods", pod, "ADDED", waits);
        let key = ("pods".to_owned(), pod.to_owned());
        while lost().is_some() {
            let there = self.world().objects.get(&key).cloned();
            match there {
                Some(there) if there["spec"]["nodeName"].is_string() => return true,
                Some(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                None => return false,
            }
        }
        self.world().objects.contains_key(&key)
    }

    async fn answered(&self) -> Result<(), std::io::Error> {
        let mut mode = self.0.mode.subscribe();
        let mode = *mode
            .wait_for(|mode| *mode != Mode::Silent)
            .await
            .map_err(std::io::Error::other)?;
        match mode {
            Mode::Refuses => Err(std::io::Error::other("connection refused")),
            _ => Ok(()),
        }
    }

    fn answer(&self, verb: &str, (kind, name): (&str, &str), query: &str, sent: &[u8]) -> Answer {
        let asked = (verb.to_owned(), kind.to_owned(), name.to_owned());
        self.world().asked.push(asked);
        let there = self.world().objects.get(&(kind.to_owned(), name.to_owned())).cloned();
        match (verb, name.is_empty(), there) {
            ("GET", true, _) => self.list(kind, query),
            ("GET", false, Some(object)) => (200, object),
            ("POST", ..) => self.create(kind, sent),
            ("PATCH", _, Some(object)) => (200, object),
            ("DELETE", _, Some(object)) => {
                let sent: Value = serde_json::from_slice(sent).unwrap_or_default();
                let version = &sent["preconditions"]["resourceVersion"];
                if !version.is_null() && *version != object["metadata"]["resourceVersion"] {
                    return status(409, "Conflict", "the object has been modified");
                }
                self.put(kind, name, "DELETED", object);
                if kind == "jobs" && self.world().binds_late {
                    self.bind(&format!("{name}-abcde"));
                }
                (200, json!({"kind": "Status", "status": "Success"}))
            }
            _ => status(404, "NotFound", "not found"),
        }
    }

    /// Gives a pod its node.
    fn bind(&self, pod: &str) {
        let found = self.world().objects.get(&("pods".to_owned(), pod.to_owned())).cloned();
        if let Some(mut found) = found {
            found["spec"]["nodeName"] = json!("node");
            self.put("pods", pod, "MODIFIED", found);
        }
    }

    fn list(&self, kind: &str, query: &str) -> Answer {
        let world = self.world();
        // Of selectors it knows that of a Job's pods.
        let job = query.split_once("job-name%3D").filter(|_| kind == "pods");
        let job = job.map(|(_, rest)| rest.split('&').next().unwrap_or_default());
        let is_selected =
            |object: &Value| job.is_none_or(|job| object["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job);
        let items: Vec<&Value> = world
            .objects
            .iter()
            .filter(|((of, _), object)| of == kind && is_selected(object))
            .map(|(_, object)| object)
            .collect();
        (
            200,
            json!({"metadata": {"resourceVersion": world.version.to_string()}, "items": items}),
        )
    }

    fn create(&self, kind: &str, sent: &[u8]) -> Answer {
        let mut object: Value = serde_json::from_slice(sent).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let jobs = self.there("jobs").len();
        let key = (kind.to_owned(), name.clone());
        if self.world().objects.contains_key(&key) {
            return status(409, "AlreadyExists", "already exists");
        }
        if kind == "jobs" {
            let most = self.world().most_jobs;
            if let Some(most) = most.filter(|most| jobs >= *most) {
                let said = format!(
                    "jobs.batch \"{name}\" is forbidden: exceeded quota: small, requested: count/jobs.batch=1, used: \
                     count/jobs.batch={jobs}, limited: count/jobs.batch={most}"
                );
                return status(403, "Forbidden", &said);
            }
            self.world().made.push(name.clone());
        }
        object["metadata"]["uid"] = json!(name);
        let object = self.put(kind, &name, "ADDED", object);
        if kind == "jobs" {
            tokio::spawn(self.clone().run_pod(object.clone()));
        }
        (201, object)
    }

    /// Sends changes after a version while the double answers. The stream breaks while it refuses.
    fn changes(&self, kind: &str, after: u64) -> Streamed {
        let (this, kind) = (self.clone(), kind.to_owned());
        let next = move |(this, kind, after): (Double, String, u64)| async move {
            let mut changed = this.0.changed.subscribe();
            loop {
                this.answered().await.ok()?;
                let found = {
                    let world = this.world();
                    let new = world
                        .events
                        .iter()
                        .find(|(version, of, ..)| *version > after && *of == kind);
                    new.map(|(version, _, what, object)| (*version, json!({"type": what, "object": object})))
                };
                if let Some((version, event)) = found {
                    let line = Bytes::from(format!("{event}\n"));
                    return Some((Ok(Frame::data(line)), (this, kind, version)));
                }
                let mut mode = this.0.mode.subscribe();
                tokio::select! {
                    changed = changed.changed() => changed.ok()?,
                    changed = mode.changed() => changed.ok()?,
                }
            }
        };
        StreamBody::new(stream::unfold((this, kind, after), next)).boxed_unsync()
    }

    /// The log of a container of this pod, if a test has set one.
    fn said(&self, pod: &str, query: &str) -> Option<String> {
        let world = self.world();
        let said = world.logs.iter().find(|(pods, container, _)| {
            pod.starts_with(pods.as_str()) && query.contains(&format!("container={container}"))
        });
        said.map(|(.., log)| log.clone())
    }

    /// A log, of which standard error is empty.
    async fn log(&self, query: &str) -> Streamed {
        if query.contains("stream=Stderr") {
            return Full::new(Bytes::new()).boxed_unsync();
        }
        let log = {
            let mut world = self.world();
            let log = world.log.clone();
            world.log.lost = log.lost.saturating_sub(1);
            log
        };
        if log.lost == 0 {
            return Full::new(Bytes::from(log.text)).boxed_unsync();
        }
        let Some(sent) = log.sent else {
            return std::future::pending().await;
        };
        let part = Bytes::copy_from_slice(&log.text.as_bytes()[..sent]);
        let part = stream::iter([Ok(Frame::data(part))]).chain(stream::pending());
        StreamBody::new(part).boxed_unsync()
    }

    async fn take(self, request: Request<Body>) -> Result<Response<Streamed>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let sent = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        self.answered().await?;
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let rest = path
            .split_once("/namespaces/tasks/")
            .map(|(_, rest)| rest)
            .unwrap_or_default();
        let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
        if query.contains("watch=true") {
            let after = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
            let after = after.and_then(|after| after.parse().ok()).unwrap_or_default();
            return Ok(Response::new(self.changes(kind, after)));
        }
        if name.ends_with("/log") {
            let said = self.said(name.trim_end_matches("/log"), &query);
            if let Some(log) = said {
                return Ok(Response::new(Full::new(Bytes::from(log)).boxed_unsync()));
            }
            return Ok(Response::new(self.log(&query).await));
        }
        let forbids = *self.0.mode.borrow() == Mode::Forbids;
        let (code, answer) = if forbids {
            let said = format!("{kind} is forbidden: User \"a\" cannot create resource \"{kind}\" in API group \"\"");
            status(403, "Forbidden", &said)
        } else {
            self.answer(parts.method.as_str(), (kind, name), &query, &sent)
        };
        let body = Full::new(Bytes::from(answer.to_string())).boxed_unsync();
        Response::builder()
            .status(code)
            .body(body)
            .map_err(std::io::Error::other)
    }
}

impl tower_service::Service<Request<Body>> for Double {
    type Response = Response<Streamed>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // A stopped process handles a request once it continues, even if the client no longer waits.
        let taken = tokio::spawn(self.clone().take(request));
        Box::pin(async move { taken.await.map_err(std::io::Error::other)? })
    }
}
