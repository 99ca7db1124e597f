//! What both sides of one preparation work with.

use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::PrepareRequest;
use hybrid_cache_model::{Failure, FailureKind, Task};

use crate::child::Deadline;
use crate::python::build::Phases;

/// Which part of a full volume's file system is to be free for the next attempt: a sixteenth first, in the end all of it.
pub const FREE_PARTS: [u64; 5] = [16, 8, 4, 2, 1];

/// Everything one preparation works with.
pub struct PrepareJob<'a> {
    /// The request.
    pub request: &'a PrepareRequest,
    /// Its task, checked.
    pub task: Task,
    /// How long it may take, and whether the other side has failed.
    pub deadline: Deadline,
    /// Where phases are announced and recorded.
    pub phases: &'a Phases<'a>,
}

/// Checks the task of a request and starts its deadline.
///
/// # Errors
/// The task is invalid.
pub fn job<'a>(request: &'a PrepareRequest, phases: &'a Phases<'a>) -> Result<PrepareJob<'a>, Failure> {
    let task = request
        .task
        .check()
        .map_err(|error| Failure::new(FailureKind::InvalidTask, error.to_string()))?;
    let deadline = Deadline::at(Instant::now() + Duration::from_millis(request.deadline_ms))?;
    Ok(PrepareJob {
        request,
        task,
        deadline,
        phases,
    })
}
