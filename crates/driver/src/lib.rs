//! Runs tasks on this machine or on a cluster, behind one trait: `submit`, `wait`, `cancel`, `logs`, and fresh epochs for
//! measuring first runs.
//!
//! A driver uses the model and the runner's protocol. It uses neither the report nor the terminal, and reads no environment
//! variables: its configuration holds all it needs.

mod cancel;
mod ids;
pub mod kube;
pub mod local;
pub mod log;
pub mod needs;
mod outcome;
mod time;
pub mod trace;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::standby::StandbyStatus;
use hybrid_cache_model::volume_set::VolumeSetStatus;
use hybrid_cache_model::{Failure, Outcome, Phase, TaskErrors, TaskSpec, Tenant};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use log::LogReader;

/// The identity of one submitted task. It serialises, so that a restarted service can ask for the task again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// The driver's name: `local`, `kube`, `argo`.
    pub driver: String,
    /// Unique within the driver.
    pub id: String,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.driver, self.id)
    }
}

/// Which state of the caches a run sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Epoch {
    /// The caches that all tasks share.
    Standing,
    /// Separate caches on the same volumes, empty when created, for measuring first runs; by name.
    Fresh(String),
}

impl Epoch {
    /// The name of a fresh epoch; `None` for the standing caches.
    pub fn name(&self) -> Option<&str> {
        match self {
            Epoch::Standing => None,
            Epoch::Fresh(name) => Some(name),
        }
    }
}

/// How to run a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitOptions {
    /// The ticket's id, if the caller must know it before the task is submitted: `a-z`, `0-9` and `-`, at most 50 characters,
    /// a letter first. Submitting an id again finds the existing task and starts no second one. `None` lets the driver choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// True if the id cannot have been submitted before, so that the driver need not look for the task.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
    /// The caches to use.
    pub epoch: Epoch,
    /// Bounds on the user's program. A task may ask for less time.
    pub limits: Limits,
    /// Milliseconds that preparing may take, including waits for other preparations.
    pub prepare_ms: u64,
    /// The tenant who owns the task and its environments.
    #[serde(default)]
    pub tenant: Tenant,
}

impl SubmitOptions {
    /// The same with the limits of this task.
    pub(crate) fn for_task(&self, spec: &TaskSpec) -> SubmitOptions {
        SubmitOptions {
            limits: self.limits.for_task(spec),
            ..self.clone()
        }
    }
}

impl Default for SubmitOptions {
    fn default() -> SubmitOptions {
        SubmitOptions {
            id: None,
            first: false,
            epoch: Epoch::Standing,
            limits: Limits::default(),
            prepare_ms: 900_000,
            tenant: Tenant::default(),
        }
    }
}

/// What happens to a running task when the process that submitted it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It continues, and another process finds it by its ticket.
    Independent,
    /// It ends too, and its ticket is unknown from then on. The answer of `submit` is certain: an error means that nothing was
    /// started.
    WithProcess,
}

/// Room for one more task, held until it is submitted.
#[derive(Default)]
pub struct Room(Option<Box<dyn std::any::Any + Send + Sync>>);

impl Room {
    /// Room that is freed when `held` is dropped.
    pub fn held(held: impl Send + Sync + 'static) -> Room {
        Room(Some(Box::new(held)))
    }

    /// True if the driver counts it.
    pub fn is_counted(&self) -> bool {
        self.0.is_some()
    }
}

/// Why a driver could not do what was requested. The failure of a *task* is not an error, but part of its [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The task's specification is invalid.
    #[error(transparent)]
    Invalid(#[from] TaskErrors),
    /// There is no such task, or it ended before this process started.
    #[error("this driver knows no task {0}\nhint: it may have ended before this process started")]
    UnknownTicket(Ticket),
    /// The cluster refused, or did not answer.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The same, if it is certain that the task was not started.
    #[error(transparent)]
    NotStarted(Failure),
    /// An operation on this machine failed.
    #[error("{what}: {source}")]
    Io {
        /// The failed action and its object.
        what: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl DriverError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DriverError {
        let what = what.into();
        move |source| DriverError::Io { what, source }
    }
}

/// Runs tasks.
#[async_trait]
pub trait Driver: Send + Sync {
    /// The name in tickets and reports.
    fn name(&self) -> &'static str;

    /// What happens to running tasks when this process ends.
    fn lifetime(&self) -> Lifetime {
        Lifetime::Independent
    }

    /// Checks a task's text, also against the sources of packages that this driver's operator allows.
    ///
    /// # Errors
    /// Everything in it that is not acceptable.
    fn check(&self, spec: &TaskSpec) -> Result<(), TaskErrors> {
        spec.check().map(drop)
    }

    /// Checks what a task asks for against the limits that it will be submitted with.
    ///
    /// # Errors
    /// Everything that is more than they allow.
    fn check_limits(&self, _spec: &TaskSpec, _limits: &Limits) -> Result<(), TaskErrors> {
        Ok(())
    }

    /// True if this driver may know the ticket.
    fn knows(&self, ticket: &Ticket) -> bool {
        ticket.driver == self.name()
    }

    /// How long after a task's end, at least, a submit of its id finds the task and starts no second one.
    fn remembers(&self) -> Duration {
        Duration::MAX
    }

    /// How long in all the driver could not observe its tasks, since it was opened. That time does not count against them.
    fn unseen(&self) -> Duration {
        Duration::ZERO
    }

    /// Waits until the next submitted task will get a place soon. A caller with many tasks asks before each, and keeps the order
    /// of its own queue; asking is optional. Hold the room until `submit` has returned.
    async fn room(&self) -> Room {
        Room::default()
    }

    /// Why tasks wait for room now, for a person; `None` if they do not, or if the reason is unknown.
    fn full(&self) -> Option<String> {
        None
    }

    /// Checks the task and starts it. Returns as soon as it is submitted.
    ///
    /// # Errors
    /// The task is invalid, or cannot be started. Only [`DriverError::NotStarted`] means that nothing was started; after any
    /// other error, submit the same id again.
    async fn submit(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError>;

    /// Waits until the user's program has ended. Publishing what was prepared may still continue.
    ///
    /// # Errors
    /// The ticket is unknown.
    async fn wait(&self, ticket: &Ticket) -> Result<Outcome, DriverError>;

    /// Waits until everything that belongs to the task has ended, including publishing. The outcome is that of
    /// [`Driver::wait`], with the spans and warnings that came after it.
    ///
    /// # Errors
    /// The ticket is unknown.
    async fn settle(&self, ticket: &Ticket) -> Result<Outcome, DriverError>;

    /// Asks a running task to end. It ends as [`hybrid_cache_model::End::Cancelled`], unless it has ended before.
    ///
    /// # Errors
    /// The ticket is unknown.
    async fn cancel(&self, ticket: &Ticket) -> Result<(), DriverError>;

    /// The running phase of a task's preparation; `None` while nothing is prepared.
    ///
    /// # Errors
    /// The ticket is unknown.
    fn preparing(&self, ticket: &Ticket) -> Result<watch::Receiver<Option<Phase>>, DriverError>;

    /// Why a submitted task has no place to run yet, for a person; `None` if it has one, if the reason is unknown, or if the
    /// ticket is.
    fn waits(&self, _ticket: &Ticket) -> Option<String> {
        None
    }

    /// How long in all a submitted task has waited for a place that others use, since this process knows of it; without the
    /// time of [`Driver::unseen`]. That time does not count against the task. Zero for an unknown ticket.
    fn waited(&self, _ticket: &Ticket) -> Duration {
        Duration::ZERO
    }

    /// The standby pods of this driver; `None` if it has none.
    fn standby(&self) -> Option<StandbyStatus> {
        None
    }

    /// The volume sets of this driver; empty if it has one, or none.
    fn volume_sets(&self) -> Vec<VolumeSetStatus> {
        Vec::new()
    }

    /// Reads the task's output, from the beginning and as it comes.
    ///
    /// # Errors
    /// The ticket is unknown.
    fn logs(&self, ticket: &Ticket) -> Result<LogReader, DriverError>;

    /// The same for a reader that keeps the output elsewhere: the driver releases what it has read, and a task that prints
    /// faster waits for it. Once the reader is dropped, output is discarded until the log is taken again.
    ///
    /// # Errors
    /// The ticket is unknown.
    fn take_log(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        self.logs(ticket)
    }

    /// Forgets a task that has ended. Its ticket is unknown from then on. A background task deletes what a cluster keeps of it,
    /// as soon as everything that belongs to it has ended.
    fn forget(&self, ticket: &Ticket);

    /// Waits until the requests noted so far are in the trace, for at most 20 s. Call it before the process ends. Returns what
    /// [`Driver::trace_warning`] does. Does nothing if no trace is recorded.
    async fn flush_trace(&self) -> Option<String> {
        None
    }

    /// Why requests are missing in the trace; returned once. No task fails because of that.
    fn trace_warning(&self) -> Option<String> {
        None
    }

    /// Creates empty caches on the same volumes.
    ///
    /// # Errors
    /// The volumes cannot be written.
    async fn fresh_epoch(&self) -> Result<Epoch, DriverError>;

    /// Deletes the caches of a fresh epoch. Never deletes the standing caches.
    ///
    /// # Errors
    /// Something in them cannot be deleted.
    async fn discard_epoch(&self, epoch: &Epoch) -> Result<(), DriverError>;
}
