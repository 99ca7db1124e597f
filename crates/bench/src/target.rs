//! The target of a bench run, behind one trait: a driver in this process, or a task service as its clients see it.

use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_cluster::Backend;
use hybrid_cache_model::level::{Level, LevelSeen};
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::sample::{LayerUsage, Peer};
use hybrid_cache_model::{Outcome, Scenario, Temperature, Timeline};
use hybrid_cache_tools::{Result, failed};

use crate::machine::Moment;

/// Longest time that a scenario's own program may run.
pub const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Longest time that an interrupted bench run waits for its last task to end.
pub const END_LIMIT: Duration = Duration::from_secs(20);

/// A run, after everything that belongs to it has ended.
pub struct Run {
    /// How long the client waited, and the state of its machine.
    pub moment: Moment,
    /// Outcome of the task.
    pub outcome: Outcome,
    /// Phases of the time that the client waited.
    pub timeline: Timeline,
    /// Standard output of the task.
    pub stdout: String,
    /// Why the measurement itself is disturbed; `None` if it is not.
    pub disturbed: Option<String>,
}

/// A run at a level of cold, with what was seen of it.
pub struct LevelRun {
    /// The run.
    pub run: Run,
    /// What the folders of the caches and the kernel showed.
    pub seen: LevelSeen,
}

/// Durations of a peer's run.
#[derive(Clone, Copy, Debug)]
pub struct PeerRun {
    /// As the client saw it.
    pub wall: Duration,
    /// The runner's own time in microseconds, if the peer has a runner.
    pub runner_us: Option<u64>,
    /// Of a bare pod whose end was learned from its log: from start until its container's state showed the end too.
    pub state: Option<Duration>,
}

impl PeerRun {
    /// A run of a peer that has a runner.
    pub fn with_runner(wall: Duration, runner_us: u64) -> PeerRun {
        PeerRun {
            runner_us: Some(runner_us),
            ..PeerRun::from(wall)
        }
    }
}

impl From<Duration> for PeerRun {
    fn from(wall: Duration) -> PeerRun {
        PeerRun {
            wall,
            runner_us: None,
            state: None,
        }
    }
}

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
    /// The peer failed, or this target has no such peer.
    async fn peer(&mut self, at: usize, scenario: &Scenario, peer: Peer) -> Result<PeerRun>;

    /// Brings the caches to a level and runs a scenario then. A level that cannot be produced is a run that failed.
    ///
    /// # Errors
    /// The target no longer works, or has no levels.
    async fn level(&mut self, _at: usize, _scenario: &Scenario, _level: Level) -> Result<LevelRun> {
        Err(failed!("this target has no levels of cold"))
    }

    /// Measures what the first run of a scenario left on disk; `None` if the target cannot know.
    ///
    /// # Errors
    /// The disk usage cannot be read.
    async fn usage(&mut self, at: usize) -> Result<Option<Vec<LayerUsage>>>;

    /// Deletes the caches that the last first runs filled: the next round fills fresh ones, or there is none.
    ///
    /// # Errors
    /// Something cannot be deleted.
    async fn end_epochs(&mut self) -> Result<()>;

    /// Ends the running task, because a step was interrupted.
    ///
    /// # Errors
    /// The task cannot be cancelled.
    async fn end_running(&mut self) -> Result<()>;

    /// Cleans up. Returns notes on the target for a reader of the report.
    ///
    /// # Errors
    /// Something cannot be deleted.
    async fn close(self: Box<Self>) -> Result<Vec<String>>;
}

/// Limits of a scenario's tasks, the same on both sides of a comparison.
pub fn limits(backend: &Backend) -> Limits {
    Limits {
        time_ms: u64::try_from(TIME_LIMIT.as_millis()).unwrap_or(u64::MAX),
        ..backend.limits()
    }
}
