//! Runs tasks on a Kubernetes cluster: a Job for each, or a Workflow of Argo; watched, never polled.
//!
//! ```text
//! submit ── Secret, Job ──► API server          watches (Jobs, pods, warnings), shared by all tasks
//!                             │                    │
//!                             ▼                    ▼
//!          pod: task [+ prepare]            sight: what they have shown of one Job
//!                │ log    │ message                │ task::next, explain: pure
//!                ▼        ▼                        ▼
//!             LogWriter   RunReport ────────►   Outcome
//! ```
//!
//! The client's user needs in its namespace: Jobs (create, get, list, watch, delete), pods (list, watch, delete), their
//! logs (get), Secrets (create, get, list, patch, delete) and events (list, watch); for Argo, Workflows as Jobs.

mod attach;
mod bare;
mod cluster;
pub mod config;
mod connect;
mod explain;
mod flow;
mod job;
mod lane;
mod logs;
mod maintain;
mod names;
pub mod noise;
mod quantity;
mod render;
mod request;
mod retry;
mod settle;
mod sight;
mod sweep;
mod task;
mod timeline;
mod trailer;
mod volumes;
mod warm;
mod watch;
mod workflow;
mod workload;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hybrid_cache_model::{Failure, FailureKind, Outcome, Phase, TaskSpec};
use tokio::sync::{oneshot, watch as state};

pub use config::{Argo, KubeConfig, Resources};
pub use connect::Reach;

use self::cluster::Cluster;
use self::flow::{Beginning, Flow};
use crate::log::{LogReader, LogWriter};
use crate::{Driver, DriverError, Epoch, SubmitOptions, Ticket};

/// The driver's name where tasks are Jobs, and where they are Workflows.
const KUBE: &str = "kube";
const ARGO: &str = "argo";

/// Runs tasks on a cluster.
pub struct KubeDriver {
    shared: Arc<Shared>,
    tasks: Mutex<HashMap<String, Running>>,
}

/// What all tasks of a driver share.
struct Shared {
    config: KubeConfig,
    cluster: Arc<Cluster>,
    registry: Arc<watch::Registry>,
    known: warm::Known,
    tenants: maintain::Tenants,
    splitting: Arc<logs::Splitting>,
    /// They run as long as somebody may look at what they show.
    _watches: watch::Watches,
}

/// What is known of a task, for those who ask.
struct Running {
    ended: state::Receiver<Answer>,
    settled: state::Receiver<Answer>,
    cancel: state::Sender<bool>,
    preparing: state::Receiver<Option<Phase>>,
    log: Arc<LogWriter>,
}

/// The same, for the task's own flow.
struct Entry {
    ended: state::Sender<Answer>,
    settled: state::Sender<Answer>,
    cancel: state::Receiver<bool>,
    preparing: state::Sender<Option<Phase>>,
    log: Arc<LogWriter>,
}

/// What there is to say of a task.
#[derive(Clone, Debug)]
enum Answer {
    /// Nothing yet.
    Pending,
    /// How it ended.
    Outcome(Box<Outcome>),
    /// The cluster knows no such task.
    Absent,
    /// The cluster does not answer.
    Unreachable(Failure),
}

impl Answer {
    fn of(outcome: &Outcome) -> Answer {
        Answer::Outcome(Box::new(outcome.clone()))
    }
}

impl Entry {
    /// Ends a task of which nothing is known.
    fn answer(self, answer: &Answer) {
        self.log.close();
        self.ended.send_replace(answer.clone());
        self.settled.send_replace(answer.clone());
    }
}

impl KubeDriver {
    /// Opens a namespace of a cluster: checks that it answers, begins to watch it, and clears away what crashed drivers
    /// left there. Runs within a tokio runtime.
    ///
    /// # Errors
    /// The configuration makes no sense, or the cluster does not answer.
    pub async fn open(client: kube::Client, config: KubeConfig) -> Result<KubeDriver, DriverError> {
        config.check()?;
        let cluster = Arc::new(Cluster::new(client, &config.namespace, config.argo.is_some()));
        cluster.check().await?;
        let registry = Arc::default();
        let watches = watch::Watches::start(&cluster, &registry);
        let shared = Arc::new(Shared {
            config,
            cluster,
            registry,
            known: warm::Known::default(),
            tenants: maintain::Tenants::default(),
            splitting: Arc::default(),
            _watches: watches,
        });
        tokio::spawn(sweep::run(Arc::clone(&shared)));
        Ok(KubeDriver {
            shared,
            tasks: Mutex::default(),
        })
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &KubeConfig {
        &self.shared.config
    }

    async fn begin(&self, id: String, spec: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError> {
        let clock = Instant::now();
        let task = spec.check()?;
        let Some(entry) = self.enter(&id) else {
            return Ok(self.ticket(&id));
        };
        let flow = Flow {
            shared: Arc::clone(&self.shared),
            id: id.clone(),
            spec: spec.clone(),
            task,
            options: options.clone(),
            log: entry.log,
            cancel: entry.cancel,
            preparing: entry.preparing,
            clock,
        };
        let (made_sender, made) = oneshot::channel();
        let (ended, settled) = (entry.ended, entry.settled);
        tokio::spawn(async move {
            let outcome = flow.run(Beginning::Make(made_sender), &ended).await;
            settled.send_replace(Answer::of(&outcome));
        });
        // A refusal is the outcome of the task; a cluster that does not answer has no task.
        if let Ok(Err(failure)) = made.await
            && failure.kind == FailureKind::Cluster
        {
            self.tasks().remove(&id);
            return Err(failure.into());
        }
        Ok(self.ticket(&id))
    }

    fn ticket(&self, id: &str) -> Ticket {
        Ticket {
            driver: self.name().to_owned(),
            id: id.to_owned(),
        }
    }

    /// A new entry, unless there is one.
    fn enter(&self, id: &str) -> Option<Entry> {
        let mut tasks = self.tasks();
        if tasks.contains_key(id) {
            return None;
        }
        let (running, entry) = channels();
        tasks.insert(id.to_owned(), running);
        Some(entry)
    }

    /// What is known of a task; one that this process does not know is looked for in the cluster.
    fn find<T>(&self, ticket: &Ticket, pick: impl FnOnce(&Running) -> T) -> Result<T, DriverError> {
        if !self.knows(ticket) {
            return Err(DriverError::UnknownTicket(ticket.clone()));
        }
        if let Some(entry) = self.enter(&ticket.id) {
            tokio::spawn(attach::run(Arc::clone(&self.shared), ticket.id.clone(), entry));
        }
        let unknown = || DriverError::UnknownTicket(ticket.clone());
        self.tasks().get(&ticket.id).map(pick).ok_or_else(unknown)
    }

    async fn answer(&self, mut answers: state::Receiver<Answer>, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let found = answers.wait_for(|answer| !matches!(answer, Answer::Pending)).await;
        let error = match found.map(|answer| answer.clone()) {
            Ok(Answer::Outcome(outcome)) => return Ok(*outcome),
            Ok(Answer::Unreachable(failure)) => failure.into(),
            Ok(Answer::Absent | Answer::Pending) | Err(_) => DriverError::UnknownTicket(ticket.clone()),
        };
        // The next one who asks has the cluster asked anew.
        self.tasks().remove(&ticket.id);
        Err(error)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        // The map is whole between its calls, whatever panicked.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn channels() -> (Running, Entry) {
    let (ended_sender, ended) = state::channel(Answer::Pending);
    let (settled_sender, settled) = state::channel(Answer::Pending);
    let (cancel, cancelled) = state::channel(false);
    let (phase_sender, preparing) = state::channel(None);
    let log = Arc::new(LogWriter::new());
    let running = Running {
        ended,
        settled,
        cancel,
        preparing,
        log: Arc::clone(&log),
    };
    let entry = Entry {
        ended: ended_sender,
        settled: settled_sender,
        cancel: cancelled,
        preparing: phase_sender,
        log,
    };
    (running, entry)
}

/// A ticket that this process does not know is looked for in the cluster, so that a restarted service finds its tasks:
/// `logs`, `preparing` and `cancel` begin to look and answer at once, `wait` and `settle` say when there is no such task.
#[async_trait]
impl Driver for KubeDriver {
    fn name(&self) -> &'static str {
        match self.shared.config.argo {
            Some(_) => ARGO,
            None => KUBE,
        }
    }

    fn knows(&self, ticket: &Ticket) -> bool {
        // One whose tasks are Workflows still finds those that were Jobs before.
        ticket.driver == KUBE || ticket.driver == self.name()
    }

    fn remembers(&self) -> Duration {
        Duration::from_secs(self.shared.config.ttl_s.into())
    }

    async fn submit(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError> {
        let Some(id) = &options.id else {
            return self.begin(names::unique("task"), spec, options).await;
        };
        names::check(id)?;
        spec.check()?;
        // Whoever submitted it, in this process or an earlier one.
        let known = self.tasks().contains_key(id);
        if known
            || attach::is_there(&self.shared, id)
                .await
                .map_err(DriverError::NotStarted)?
        {
            return Ok(self.ticket(id));
        }
        self.begin(id.clone(), spec, options).await
    }

    async fn wait(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let receiver = self.find(ticket, |task| task.ended.clone())?;
        self.answer(receiver, ticket).await
    }

    async fn settle(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let receiver = self.find(ticket, |task| task.settled.clone())?;
        self.answer(receiver, ticket).await
    }

    async fn cancel(&self, ticket: &Ticket) -> Result<(), DriverError> {
        self.find(ticket, |task| task.cancel.send_replace(true)).map(|_| ())
    }

    fn preparing(&self, ticket: &Ticket) -> Result<state::Receiver<Option<Phase>>, DriverError> {
        self.find(ticket, |task| task.preparing.clone())
    }

    fn logs(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        self.find(ticket, |task| task.log.reader())
    }

    fn take_log(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        self.find(ticket, |task| task.log.take())
    }

    fn forget(&self, ticket: &Ticket) {
        // In the cluster it stays until its Job's time to live is over.
        self.tasks().remove(&ticket.id);
    }

    async fn fresh_epoch(&self) -> Result<Epoch, DriverError> {
        Ok(self.create_epoch().await?)
    }

    async fn discard_epoch(&self, epoch: &Epoch) -> Result<(), DriverError> {
        Ok(self.delete_epoch(epoch).await?)
    }
}
