//! What a bench run measures, behind one trait: a driver in this process, or a task service as its clients see it.

use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_cluster::Backend;
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::sample::{LayerUsage, Peer};
use hybrid_cache_model::{Outcome, Scenario, Temperature, Timeline};
use hybrid_cache_tools::Result;

use crate::machine::Moment;

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
    /// Why the measurement itself went wrong; `None` if it did not.
    pub disturbed: Option<String>,
}

/// What a run of a peer took: as the client saw it, and, where it has a runner, inside, in microseconds.
pub type PeerRun = (Duration, Option<u64>);

/// What a bench run measures.
#[async_trait(?Send)]
pub trait BenchTarget {
    /// Runs a scenario at a temperature. `at` is its position in the list.
    ///
    /// # Errors
    /// The target no longer works. A task that fails is a run.
    async fn run(&mut self, at: usize, scenario: &Scenario, temperature: Temperature) -> Result<Run>;

    /// Runs a peer.
    ///
    /// # Errors
    /// It failed, or this target has no such peer.
    async fn peer(&mut self, at: usize, scenario: &Scenario, peer: Peer) -> Result<PeerRun>;

    /// What the first run of a scenario has left on disk; `None` if the target cannot know.
    ///
    /// # Errors
    /// The disk usage cannot be read.
    async fn usage(&mut self, at: usize) -> Result<Option<Vec<LayerUsage>>>;

    /// Deletes what was made for a round that is over.
    ///
    /// # Errors
    /// Something cannot be deleted.
    async fn end_round(&mut self) -> Result<()>;

    /// Ends the task that runs, because a step was interrupted.
    ///
    /// # Errors
    /// The task cannot be cancelled.
    async fn end_running(&mut self) -> Result<()>;

    /// Cleans up; what a reader of the report should know about the target's part in it.
    ///
    /// # Errors
    /// Something cannot be deleted.
    async fn close(self: Box<Self>) -> Result<Vec<String>>;
}

/// Bounds on a scenario's tasks, the same on both sides of a comparison.
pub fn limits(backend: &Backend) -> Limits {
    Limits {
        time_ms: u64::try_from(TIME_LIMIT.as_millis()).unwrap_or(u64::MAX),
        ..backend.limits()
    }
}
