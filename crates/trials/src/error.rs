//! Why a trial did not work. What an attack achieved is not an error but its verdict.

use std::time::Duration;

use hybrid_cache_driver::DriverError;
use hybrid_cache_model::{End, Failure};

/// A trial that did not work.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The driver could not do what the trial asked.
    #[error("the driver: {0}")]
    Driver(#[from] DriverError),
    /// The runner could not look after the caches.
    #[error("the caches: {0}")]
    Maintenance(#[from] Failure),
    /// A file or a socket of the trial.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A task of the trial ended in another way than it should.
    #[error("the task that {task} ended as {end:?}: {said}")]
    Ended {
        /// Which task.
        task: String,
        /// How it ended.
        end: Box<End>,
        /// The end of what it wrote.
        said: String,
    },
    /// A task of the trial did not say what it should.
    #[error("the task that {task} printed no result: {said}")]
    NoResult {
        /// Which task.
        task: String,
        /// The end of what it wrote.
        said: String,
    },
    /// A deadline of the trial passed.
    #[error("{what} took longer than {} s", limit.as_secs())]
    Deadline {
        /// What.
        what: String,
        /// How long it might take.
        limit: Duration,
    },
    /// Something else that the trial relies on.
    #[error("{0}")]
    Other(String),
}

impl TrialError {
    /// Adds what was being done to a system's answer.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> TrialError {
        let what = what.into();
        move |source| TrialError::Io { what, source }
    }
}
