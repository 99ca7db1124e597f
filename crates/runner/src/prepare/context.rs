//! What the steps of one preparation share.

use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::PrepareRequest;
use hybrid_cache_model::{Failure, Task};

use crate::child::Deadline;
use crate::python::build::Phases;

/// How much of a full volume's file system to free before each retry: first 1/16, at last all of it.
pub const FREE_PARTS: [u64; 5] = [16, 8, 4, 2, 1];

/// One preparation.
pub struct PrepareJob<'a> {
    /// The request.
    pub request: &'a PrepareRequest,
    /// Its task, checked.
    pub task: Task,
    /// When to give up; cancelled when the other side fails.
    pub deadline: Deadline,
    /// Phases are announced and recorded.
    pub phases: &'a Phases<'a>,
}

/// Checks the task of a request and starts its deadline.
///
/// # Errors
/// The task is invalid.
pub fn job<'a>(request: &'a PrepareRequest, phases: &'a Phases<'a>) -> Result<PrepareJob<'a>, Failure> {
    let task = request.task.check()?;
    let deadline = Deadline::at(Instant::now() + Duration::from_millis(request.deadline_ms))?;
    Ok(PrepareJob {
        request,
        task,
        deadline,
        phases,
    })
}
