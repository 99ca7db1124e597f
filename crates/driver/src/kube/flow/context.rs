//! What every step of one task works with.

use std::sync::Arc;
use std::time::Instant;

use hybrid_cache_model::{CachePolicy, End, Failure, Outcome, Phase, Task, TaskSpec};
use tokio::sync::watch;

use crate::SubmitOptions;
use crate::cancel::CancelFlag;
use crate::kube::flow::admission::WaitForRoom;
use crate::kube::flow::recent_hits::CacheRequest;
use crate::kube::flow::task_registry::Presence;
use crate::kube::flow::workload_run::WorkloadRun;
use crate::kube::sets::lost;
use crate::kube::sets::state::SetTicket;
use crate::kube::shared::Shared;
use crate::kube::workload::kind::WorkloadKind;
use crate::log::LogWriter;
use crate::needs::Needs;
use crate::outcome::{self, TaskProgress};
use crate::time::micros;

/// One task, and where its steps report.
pub struct TaskContext {
    /// The cluster, the watches, the configuration.
    pub shared: Arc<Shared>,
    /// The ticket's id.
    pub id: String,
    /// The task as submitted.
    pub spec: TaskSpec,
    /// The task as checked.
    pub task: Task,
    /// How to run it.
    pub options: SubmitOptions,
    /// Its volume set.
    pub set: SetTicket,
    /// Receives its output.
    pub log: Arc<LogWriter>,
    /// Whether someone cancelled it.
    pub cancel: CancelFlag,
    /// Receives the running phase of a preparation; `None` while nothing is prepared.
    pub preparing: watch::Sender<Option<Phase>>,
    /// Receives what the task waits for while it has no node.
    pub waits: watch::Sender<WaitForRoom>,
    /// Receives whether the cluster has the task.
    pub presence: watch::Sender<Presence>,
    /// Receives kind and name of its latest workload.
    pub latest_workload: watch::Sender<Option<(WorkloadKind, String)>>,
    /// When it was submitted.
    pub clock: Instant,
}

impl TaskContext {
    /// Which packages the task asks for.
    pub fn needs(&self) -> Needs {
        Needs::from(&self.task)
    }

    /// What the task asks of the caches.
    pub fn cache_request(&self) -> CacheRequest {
        CacheRequest::new(&self.options.epoch, &self.options.tenant, &self.task)
    }

    /// True if its pods mount the volumes of its set.
    pub fn uses_volumes(&self) -> bool {
        self.needs().any() && self.task.cache == CachePolicy::Use
    }

    /// Notes what a workload whose task has ended, or will never end, says of the volume set.
    pub fn note_end(&self, run: &WorkloadRun) {
        let observed = run.observed();
        if !self.uses_volumes() {
            return;
        }
        if let Some(at) = observed.first_seen.scheduled {
            self.shared.sets.note_scheduled(self.set.place(), at);
        }
        if lost::lost_node(&observed) {
            // Without another set that is up, nothing changes.
            let _ = self.shared.sets.mark_down(self.set.place(), Instant::now());
        }
    }

    /// Microseconds since the task was submitted.
    pub fn now_us(&self) -> u64 {
        micros(self.clock.elapsed())
    }

    /// Microseconds from the submit to `at`; 0 if `at` is earlier.
    pub fn us_at(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.clock))
    }

    /// The outcome of a task that ended without a report.
    pub fn without_report(&self, end: End, progress: TaskProgress) -> Outcome {
        outcome::without_report(end, &self.task, progress)
    }

    /// The outcome of a task that failed because of the driver, its own text or the cluster.
    pub fn failed(&self, failure: Failure, progress: TaskProgress) -> Outcome {
        self.without_report(End::Failed { failure }, progress)
    }
}
