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
mod book;
mod cluster;
pub mod config;
mod connect;
mod entrance;
mod explain;
mod flow;
mod job;
mod lane;
mod logs;
mod maintain;
mod names;
pub mod noise;
mod pulse;
mod record;
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

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hybrid_cache_model::{Outcome, Phase, TaskSpec, Tenant};
use tokio::sync::watch as state;
use tokio::task::JoinSet;

#[cfg(test)]
mod double;
#[cfg(test)]
mod outage_tests;
#[cfg(test)]
mod record_tests;

pub use config::{Argo, KubeConfig, Resources};
pub use connect::Reach;

use self::attach::{Before, Order};
use self::book::{Answer, Book, Made};
use self::cluster::{Cluster, NotMade};
use crate::log::LogReader;
use crate::trace::{Recorder, TraceConfig};
use crate::{Driver, DriverError, Epoch, Room, SubmitOptions, Ticket};

/// The driver's name where tasks are Jobs, and where they are Workflows.
const KUBE: &str = "kube";
const ARGO: &str = "argo";

/// Runs tasks on a cluster.
pub struct KubeDriver {
    shared: Arc<Shared>,
    tasks: Book,
}

/// What all tasks of a driver share.
struct Shared {
    config: KubeConfig,
    cluster: Arc<Cluster>,
    registry: Arc<watch::Registry>,
    known: warm::Known,
    tenants: maintain::Tenants,
    splitting: Arc<logs::Splitting>,
    pulse: Arc<pulse::Pulse>,
    entrance: Arc<entrance::Entrance>,
    failed: job::Failed,
    /// Takes notes of requests, once somebody has asked for it.
    trace: OnceLock<Recorder>,
    _pulse: JoinSet<()>,
    /// They run as long as somebody may look at what they show.
    _watches: watch::Watches,
}

impl Shared {
    /// How long the cluster keeps a task that has ended and that nobody has fetched: so long an outage may be.
    fn lasting(&self) -> Duration {
        Duration::from_secs(self.config.ttl_s.into())
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
        let pulse = Arc::default();
        let mut listening = JoinSet::new();
        listening.spawn(pulse::run(
            Arc::clone(&cluster),
            Arc::clone(&registry),
            Arc::clone(&pulse),
        ));
        let shared = Arc::new(Shared {
            pulse,
            entrance: Arc::default(),
            failed: job::Failed::default(),
            trace: OnceLock::new(),
            _pulse: listening,
            config,
            cluster,
            registry,
            known: warm::Known::default(),
            tenants: maintain::Tenants::default(),
            splitting: Arc::default(),
            _watches: watches,
        });
        tokio::spawn(sweep::run(Arc::downgrade(&shared)));
        Ok(KubeDriver {
            shared,
            tasks: Book::default(),
        })
    }

    /// Records requests from now on, once: a second call changes nothing. Nothing is written before the first request.
    pub fn record(&self, trace: TraceConfig) {
        let resident = Arc::new(record::OnCluster(Arc::downgrade(&self.shared)));
        let recorder = Recorder::new(trace, self.shared.config.max_age_s, resident);
        // Somebody was first.
        let _ = self.shared.trace.set(recorder);
    }

    /// Forgets that a task's environments are there, as it does an hour after their use was noted: the next task that asks for
    /// them has their use noted. For replays, in which time is pressed together.
    ///
    /// # Errors
    /// The task's text is not acceptable.
    pub fn forget_use(&self, epoch: &Epoch, tenant: &Tenant, spec: &TaskSpec) -> Result<(), DriverError> {
        let request = warm::Request::new(epoch, tenant, &spec.check()?);
        self.shared.known.remove(&request);
        Ok(())
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &KubeConfig {
        &self.shared.config
    }

    /// Submits a task under an id, or finds the one that is there, whoever submitted it, in this process or an earlier one.
    async fn begin(&self, id: String, order: Order, before: Before) -> Result<Ticket, DriverError> {
        let (spec, task, options, clock) = (order.spec, order.task, order.options, order.clock);
        loop {
            if let Some(entry) = self.tasks.enter(&id) {
                let order = Order {
                    spec: spec.clone(),
                    task: task.clone(),
                    options: options.clone(),
                    clock,
                };
                let (shared, book) = (Arc::clone(&self.shared), self.tasks.clone());
                // Whoever submits it may go away; the task goes on.
                tokio::spawn(attach::submit(shared, book, id.clone(), order, entry, before));
            }
            let Some(mut made) = self.tasks.pick(&id, |task| task.made.clone()) else {
                continue;
            };
            let told = made.wait_for(|made| !matches!(made, Made::Asking)).await;
            let told = told.map(|made| made.clone());
            match told {
                Ok(Made::Known) => return Ok(self.ticket(&id)),
                Ok(Made::Unanswered(NotMade::Perhaps(failure))) => return Err(failure.into()),
                Ok(Made::Unanswered(NotMade::Certainly(failure) | NotMade::Never(failure))) => {
                    return Err(DriverError::NotStarted(failure));
                }
                // Somebody only looked for it, and it is no more in the book.
                Ok(Made::Absent) => {}
                Ok(Made::Asking) | Err(_) => return Err(DriverError::UnknownTicket(self.ticket(&id))),
            }
        }
    }

    fn ticket(&self, id: &str) -> Ticket {
        Ticket {
            driver: self.name().to_owned(),
            id: id.to_owned(),
        }
    }

    /// What is known of a task; one that this process does not know is looked for in the cluster.
    fn find<T>(&self, ticket: &Ticket, pick: impl FnOnce(&book::Running) -> T) -> Result<T, DriverError> {
        if !self.knows(ticket) {
            return Err(DriverError::UnknownTicket(ticket.clone()));
        }
        if let Some(entry) = self.tasks.enter(&ticket.id) {
            let (shared, book) = (Arc::clone(&self.shared), self.tasks.clone());
            tokio::spawn(attach::run(shared, book, ticket.id.clone(), entry));
        }
        let unknown = || DriverError::UnknownTicket(ticket.clone());
        self.tasks.pick(&ticket.id, pick).ok_or_else(unknown)
    }

    async fn answer(&self, mut answers: state::Receiver<Answer>, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let found = answers.wait_for(|answer| !matches!(answer, Answer::Pending)).await;
        match found.map(|answer| answer.clone()) {
            Ok(Answer::Outcome(outcome)) => Ok(*outcome),
            Ok(Answer::Unreachable(failure)) => Err(failure.into()),
            Ok(Answer::Absent | Answer::Pending) | Err(_) => Err(DriverError::UnknownTicket(ticket.clone())),
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
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

    fn unseen(&self) -> Duration {
        self.shared.pulse.lost()
    }

    async fn room(&self) -> Room {
        self.shared.entrance.room().await
    }

    fn full(&self) -> Option<String> {
        // What it said before that may be long past.
        let lost = self.shared.pulse.is_lost();
        let silent = || "the cluster does not answer".to_owned();
        lost.then(silent).or_else(|| self.shared.entrance.full())
    }

    async fn submit(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError> {
        let order = Order {
            spec: spec.clone(),
            task: spec.check()?,
            options: options.clone(),
            clock: Instant::now(),
        };
        let Some(id) = &options.id else {
            return self.begin(names::unique("task"), order, Before::Never).await;
        };
        names::check(id)?;
        let before = if options.first { Before::Never } else { Before::Perhaps };
        self.begin(id.clone(), order, before).await
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

    fn waits(&self, ticket: &Ticket) -> Option<String> {
        let known = self.tasks.pick(&ticket.id, |task| task.waits.borrow().why.clone());
        known.flatten().filter(|_| self.knows(ticket))
    }

    fn waited(&self, ticket: &Ticket) -> Duration {
        let known = self.tasks.pick(&ticket.id, |task| task.waits.borrow().waited());
        let waited = known.filter(|_| self.knows(ticket)).unwrap_or_default();
        // Longer than that this driver itself lets no task wait.
        waited.min(self.shared.lasting())
    }

    fn logs(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        self.find(ticket, |task| task.log.reader())
    }

    fn take_log(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        self.find(ticket, |task| task.log.take())
    }

    fn forget(&self, ticket: &Ticket) {
        if let Some(task) = self.tasks.remove(&ticket.id) {
            tokio::spawn(job::discard(Arc::clone(&self.shared), task));
        }
    }

    async fn flush_trace(&self) -> Option<String> {
        match self.shared.trace.get() {
            Some(trace) => trace.flush().await,
            None => None,
        }
    }

    fn trace_warning(&self) -> Option<String> {
        self.shared.trace.get().and_then(Recorder::warning)
    }

    async fn fresh_epoch(&self) -> Result<Epoch, DriverError> {
        Ok(self.create_epoch().await?)
    }

    async fn discard_epoch(&self, epoch: &Epoch) -> Result<(), DriverError> {
        Ok(self.delete_epoch(epoch).await?)
    }
}
