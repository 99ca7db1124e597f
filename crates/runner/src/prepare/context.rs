//! What the steps of one preparation share.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::{BuildOrder, BuildReport, PrepareRequest};
use hybrid_cache_model::{Failure, FailureKind, SourcePolicy, Task};

use crate::child::Deadline;
use crate::clock::lock;
use crate::python::build::Phases;

/// How much of a full volume's file system to free before each retry: first 1/16, at last all of it.
pub const FREE_PARTS: [u64; 5] = [16, 8, 4, 2, 1];
/// How often a wait for the other side looks whether the preparation was cancelled.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);

/// Has the driver run one order in a sandbox of its own, which may run code of packages.
pub type Builder<'a> = &'a (dyn Fn(&BuildOrder) -> Result<BuildReport, Failure> + Sync);

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
    /// Who builds packages without a wheel; `None` if nobody does.
    pub builder: Option<Builder<'a>>,
    /// The system packages, for builds.
    pub system: SystemDone,
}

/// Checks the task of a request and starts its deadline.
///
/// # Errors
/// The task is invalid.
pub fn job<'a>(
    request: &'a PrepareRequest,
    phases: &'a Phases<'a>,
    builder: Option<Builder<'a>>,
) -> Result<PrepareJob<'a>, Failure> {
    let variables = request.python_tools.as_ref().map(|tools| tools.variables.as_slice());
    let policy = SourcePolicy::new(&request.context.sources, variables.unwrap_or_default());
    let task = request.task.check_for(&policy)?;
    let deadline = Deadline::at(Instant::now() + Duration::from_millis(request.deadline_ms))?;
    Ok(PrepareJob {
        request,
        task,
        deadline,
        phases,
        builder,
        system: SystemDone::default(),
    })
}

impl PrepareJob<'_> {
    /// True if setuptools may be added for packages that need a module which it had.
    pub fn adds_setuptools(&self) -> bool {
        !self.request.context.sources.no_setuptools
    }
}

/// The end of the system side, for which a build on the Python side waits.
#[derive(Default)]
pub struct SystemDone {
    /// `Some(None)` if it failed.
    paths: Mutex<Option<Option<Vec<String>>>>,
    changed: Condvar,
}

impl SystemDone {
    /// Reports the end: the store paths, or `None` for a failure.
    pub fn set(&self, paths: Option<Vec<String>>) {
        *lock(&self.paths) = Some(paths);
        self.changed.notify_all();
    }

    /// Waits for the store paths.
    ///
    /// # Errors
    /// The system side failed, or the deadline passed.
    pub fn wait(&self, deadline: &Deadline) -> Result<Vec<String>, Failure> {
        let mut paths = lock(&self.paths);
        loop {
            if let Some(done) = &*paths {
                let message = "the build was not started because the system packages failed";
                return done.clone().ok_or_else(|| Failure::new(FailureKind::Deadline, message));
            }
            if deadline.is_cancelled() || Instant::now() >= deadline.instant() {
                let message = "the system packages for a build were not ready before the preparation's deadline";
                return Err(Failure::new(FailureKind::Deadline, message));
            }
            let waited = self.changed.wait_timeout(paths, CANCEL_INTERVAL);
            paths = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
