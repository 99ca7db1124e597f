//! Where a task runs, behind one trait: `submit`, `wait`, `cancel`, `logs`, and epochs for honest first runs.
//!
//! A driver knows the model and the runner's protocol. It never knows the report, the terminal or the environment
//! variables of the process it lives in: all it needs comes in its configuration.

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
use hybrid_cache_model::{Failure, Outcome, Phase, TaskError, TaskSpec, Tenant};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use log::LogReader;

/// One submitted task, as its driver knows it. It serialises, so that a restarted service can ask for it again.
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
    /// The caches that everybody uses.
    Standing,
    /// Caches of their own on the same volumes, empty when they were made: for measuring first runs.
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

/// How a task is to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitOptions {
    /// The ticket's id, where the caller must know it before the task is on its way: `a-z`, `0-9` and `-`, at most 50
    /// characters, a letter first. Submitting an id again finds the task that is there and starts no second one.
    /// Without it the driver makes one up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// True where nobody can have submitted this id before, so that the driver need not look for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
    /// Which caches.
    pub epoch: Epoch,
    /// Bounds on the user's program.
    pub limits: Limits,
    /// Milliseconds that preparing may take, waiting for others included.
    pub prepare_ms: u64,
    /// Whose task it is: its environments are that tenant's.
    #[serde(default)]
    pub tenant: Tenant,
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

/// What becomes of a running task when the process that submitted it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It goes on, and another process finds it by its ticket.
    Independent,
    /// It ends too, and nobody knows its ticket any more. What `submit` answers is certain then: an error means that
    /// nothing was started.
    WithProcess,
}

/// Room for one more task, held until it is submitted.
#[derive(Default)]
pub struct Room(Option<Box<dyn std::any::Any + Send + Sync>>);

impl Room {
    /// Room that is given back when `held` is dropped.
    pub fn held(held: impl Send + Sync + 'static) -> Room {
        Room(Some(Box::new(held)))
    }

    /// True where somebody counts it.
    pub fn is_counted(&self) -> bool {
        self.0.is_some()
    }
}

/// Why a driver could not do what it was asked. How a *task* failed is no error but its [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The task's text is not acceptable.
    #[error(transparent)]
    Invalid(#[from] TaskError),
    /// No such task, or one that ended before this process began.
    #[error("no task {0} is known to this driver\nhint: it may have ended before this process started")]
    UnknownTicket(Ticket),
    /// The cluster cannot do it, or cannot be asked.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The same, where it is certain that the task was not started.
    #[error(transparent)]
    NotStarted(Failure),
    /// Something on this machine.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, and to what.
        what: String,
        /// The system's answer.
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

/// A place where tasks run.
#[async_trait]
pub trait Driver: Send + Sync {
    /// The name that tickets and reports carry.
    fn name(&self) -> &'static str;

    /// What becomes of running tasks when this process ends.
    fn lifetime(&self) -> Lifetime {
        Lifetime::Independent
    }

    /// True where the ticket is of a kind that this driver may know.
    fn knows(&self, ticket: &Ticket) -> bool {
        ticket.driver == self.name()
    }

    /// How long after a task's end a submit of its id finds it and starts no second one, at the least.
    fn remembers(&self) -> Duration {
        Duration::MAX
    }

    /// For how long in all it could not see its tasks, since it was opened: that does not count against them.
    fn unseen(&self) -> Duration {
        Duration::ZERO
    }

    /// Waits until a task that is submitted next comes to a place soon. Whoever has many to submit asks for each, and
    /// keeps the order of its own queue; to ask is no duty. Hold it until `submit` has returned.
    async fn room(&self) -> Room {
        Room::default()
    }

    /// Why tasks wait for room at the moment, where that is known: a sentence for people.
    fn full(&self) -> Option<String> {
        None
    }

    /// Checks the task and starts it. Returns as soon as it is on its way.
    ///
    /// # Errors
    /// The task's text is not acceptable, or it cannot be started at all. But for [`DriverError::NotStarted`], an error does
    /// not say that nothing was started: submit the same id again.
    async fn submit(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError>;

    /// Waits until the user's program has ended. Publishing what was prepared may still go on.
    ///
    /// # Errors
    /// The ticket is not known.
    async fn wait(&self, ticket: &Ticket) -> Result<Outcome, DriverError>;

    /// Waits until everything that belongs to the task has ended, publishing included. The outcome is that of
    /// [`Driver::wait`] with the spans and warnings that came after it.
    ///
    /// # Errors
    /// The ticket is not known.
    async fn settle(&self, ticket: &Ticket) -> Result<Outcome, DriverError>;

    /// Asks a running task to end. It ends as [`hybrid_cache_model::End::Cancelled`], unless it ended before.
    ///
    /// # Errors
    /// The ticket is not known.
    async fn cancel(&self, ticket: &Ticket) -> Result<(), DriverError>;

    /// What is being done for a task at the moment, beside running it: a preparation's phase, or nothing.
    ///
    /// # Errors
    /// The ticket is not known.
    fn preparing(&self, ticket: &Ticket) -> Result<watch::Receiver<Option<Phase>>, DriverError>;

    /// Why a submitted task has no place to run yet, if that is known: a sentence for people. `None` also for a ticket
    /// that is not known.
    fn waits(&self, _ticket: &Ticket) -> Option<String> {
        None
    }

    /// For how long in all a submitted task has had no place to run because others have it, since this process knows of the
    /// task; without the time of [`Driver::unseen`]. That does not count against it. Zero also for a ticket that is not known.
    fn waited(&self, _ticket: &Ticket) -> Duration {
        Duration::ZERO
    }

    /// The task's output so far and to come.
    ///
    /// # Errors
    /// The ticket is not known.
    fn logs(&self, ticket: &Ticket) -> Result<LogReader, DriverError>;

    /// The same for the one reader that keeps the output elsewhere: what it has read the driver lets go of, and a task that
    /// prints faster waits for it. Once that reader is dropped, output is passed over until the log is taken again.
    ///
    /// # Errors
    /// The ticket is not known.
    fn take_log(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        self.logs(ticket)
    }

    /// Forgets a task that has ended; its ticket is unknown from then on, and what a cluster keeps of it is deleted behind
    /// the caller's back, as soon as all that belongs to it has ended.
    fn forget(&self, ticket: &Ticket);

    /// Waits until requests noted so far are in the trace, for some seconds at most: before the process ends. Returns what
    /// [`Driver::trace_warning`] does. Does nothing where none is recorded.
    async fn flush_trace(&self) -> Option<String> {
        None
    }

    /// Why requests are not in the trace, once; no task fails for that.
    fn trace_warning(&self) -> Option<String> {
        None
    }

    /// Makes empty caches on the same volumes.
    ///
    /// # Errors
    /// The volumes cannot be written.
    async fn fresh_epoch(&self) -> Result<Epoch, DriverError>;

    /// Deletes the caches of a fresh epoch. The standing caches are never deleted by this.
    ///
    /// # Errors
    /// Something in them cannot be deleted.
    async fn discard_epoch(&self, epoch: &Epoch) -> Result<(), DriverError>;
}
