//! What a bench run measures, whatever it is: a driver at hand, or a task service as its clients see it.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::sample::{LayerUsage, Peer};
use hybrid_cache_model::{Outcome, Scenario, Temperature, Timeline};

use super::machine::Moment;
use crate::subject::Subject;

/// Longest a scenario's own program may run.
pub const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Longest an interrupted bench run waits for its last task to end.
pub const END_LIMIT: Duration = Duration::from_secs(20);

/// One run, once everything that belongs to it has ended.
pub struct Run {
    /// How long the client waited, and what its machine was like.
    pub moment: Moment,
    /// What became of the task.
    pub outcome: Outcome,
    /// Where the client's time went.
    pub timeline: Timeline,
    /// What the task printed.
    pub stdout: String,
    /// Why the measurement itself went wrong, where it did.
    pub disturbed: Option<String>,
}

/// What a run of a peer took: as the client saw it, and, where it has a runner, inside, in microseconds.
pub type PeerRun = (Duration, Option<u64>);

/// A place to measure.
#[async_trait(?Send)]
pub trait Place {
    /// Runs a scenario at a temperature. `at` is its position in the list.
    ///
    /// # Errors
    /// The place works no more. A task that fails is a run.
    async fn run(&mut self, at: usize, scenario: &Scenario, temperature: Temperature) -> Result<Run>;

    /// Runs a peer.
    ///
    /// # Errors
    /// It failed, or is none here.
    async fn peer(&mut self, at: usize, scenario: &Scenario, peer: Peer) -> Result<PeerRun>;

    /// What the first run of a scenario has left on disk; `None` where that cannot be told.
    ///
    /// # Errors
    /// It could not be looked.
    async fn usage(&mut self, at: usize) -> Result<Option<Vec<LayerUsage>>>;

    /// A round is over, and what was made for it is to go.
    ///
    /// # Errors
    /// Something cannot be deleted.
    async fn end_round(&mut self) -> Result<()>;

    /// Ends what runs, because a step was interrupted.
    ///
    /// # Errors
    /// It cannot be asked to end.
    async fn end_running(&mut self) -> Result<()>;

    /// Cleans up, and tells what a reader of the report should know of the place's part in it.
    ///
    /// # Errors
    /// Something cannot be deleted.
    async fn close(self: Box<Self>) -> Result<Vec<String>>;
}

/// On both sides of a comparison alike.
pub fn limits(subject: &Subject) -> Limits {
    Limits {
        time_ms: u64::try_from(TIME_LIMIT.as_millis()).unwrap_or(u64::MAX),
        ..subject.limits()
    }
}
