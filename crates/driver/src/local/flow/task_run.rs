//! Runs the runner once in a task's sandbox, and turns what it reports into an outcome.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hybrid_cache_model::protocol::{Environments, RunReport};
use hybrid_cache_model::{End, Failure, FailureKind, Outcome, Phase, Task, TaskSpec, Timeline};
use tokio::sync::watch;

use crate::SubmitOptions;
use crate::cancel::{CancelFlag, cancelled};
use crate::local::config::LocalConfig;
use crate::local::folders::Folders;
use crate::local::memory::{self, MemoryGroups};
use crate::local::network::{NetworkWait, Networks, TaskNetwork};
use crate::local::sandbox::{self, HostLayout};
use crate::local::volumes::VolumePair;
use crate::local::{process, requests, task_resources};
use crate::log::LogWriter;
use crate::needs::Needs;
use crate::outcome::{self, TaskProgress};
use crate::time::micros;
use crate::trace::{Notes, RequestRecorder};

/// One task, with what its runs need.
pub struct TaskRun {
    /// The driver's configuration.
    pub config: Arc<LocalConfig>,
    /// This machine's layout.
    pub host: Arc<HostLayout>,
    /// The cache folder.
    pub folders: Folders,
    /// Where control groups are created.
    pub memory: Arc<MemoryGroups>,
    /// The networks of tasks.
    pub networks: Arc<Networks>,
    /// The network of this task, from its first sandbox on.
    pub network: Option<TaskNetwork>,
    /// The ticket's id.
    pub id: String,
    /// The task as submitted.
    pub spec: TaskSpec,
    /// The task as checked.
    pub task: Task,
    /// How to run it.
    pub options: SubmitOptions,
    /// Receives its output.
    pub log: Arc<LogWriter>,
    /// Whether someone cancelled it.
    pub cancel: CancelFlag,
    /// Receives the running phase of a preparation; `None` while nothing is prepared.
    pub preparing: watch::Sender<Option<Phase>>,
    /// Receives its waits for a network.
    pub waits: watch::Sender<NetworkWait>,
    /// When it was submitted.
    pub clock: Instant,
    /// Records the request; `None` if requests are not recorded.
    pub trace: Option<Arc<RequestRecorder>>,
    /// What a trace records of it beside the outcome.
    pub notes: Notes,
}

impl TaskRun {
    /// Runs the runner once in the task's sandbox, and adds the run to the timeline.
    ///
    /// # Errors
    /// There is no report.
    pub async fn execute(
        &mut self,
        volumes: &VolumePair,
        environments: Environments,
        accept_stale: bool,
        progress: &mut TaskProgress,
    ) -> Result<RunReport, RunError> {
        self.execute_in(volumes, environments, None, accept_stale, progress)
            .await
    }

    /// The same with an environment that is not published yet; `staged` is its folder on the host.
    ///
    /// # Errors
    /// There is no report.
    pub async fn execute_in(
        &mut self,
        volumes: &VolumePair,
        environments: Environments,
        staged: Option<&Path>,
        accept_stale: bool,
        progress: &mut TaskProgress,
    ) -> Result<RunReport, RunError> {
        let start_us = self.now_us();
        let needs = self.needs();
        self.claim_network().await?;
        // Builds keep the operator's limits, so that a package is built alike for every task.
        let options = SubmitOptions {
            limits: task_resources::bounded(&self.options.limits, &self.spec.resources),
            ..self.options.clone()
        };
        let (tenant, limits) = (&options.tenant, &options.limits);
        let Some(network) = &mut self.network else {
            let message = "a task has no network to run in";
            return Err(RunError::Failed(Failure::new(FailureKind::Internal, message)));
        };
        progress.warnings.extend(self.networks.warning());
        let host = self.host.for_task(network.resolver());
        let command = sandbox::task_command(&self.config, &host, volumes, tenant, needs, staged, limits);
        let command = network.enter(command);
        let (config, identity) = (&self.config, self.host.identity);
        let request = requests::run_request(config, &self.spec, &options, identity, environments, accept_stale);
        let mut group = None;
        let (groups, id, bytes) = (&self.memory, &self.id, limits.memory_bytes);
        let enter = || memory::enter(groups, id, bytes, &mut group, &mut progress.warnings);
        let run = process::run(&command, &request, limits, enter, &self.log, &mut self.cancel).await;
        let raised_by = match &self.spec.resources.memory {
            Some(_) => "resources.memory",
            None => "--memory",
        };
        progress
            .warnings
            .extend(group.and_then(|group| group.out_of_memory(raised_by)));
        if run.ended {
            network.left();
        }
        if !matches!(run.report, Ok(RunReport::Missed { .. })) {
            // What follows runs no user code, so another task may have the network.
            self.network = None;
        }
        if let Ok(RunReport::Finished { keys, .. }) = &run.report {
            self.notes.keys = keys.clone();
        }
        let inner = match &run.report {
            Ok(RunReport::Finished { timeline, .. } | RunReport::Missed { timeline, .. }) => timeline.clone(),
            Err(_) => Timeline::default(),
        };
        progress.timeline.nest(&inner, start_us, run.outer_us);
        match run.report {
            Ok(report) => Ok(report),
            Err(_) if run.cancelled => Err(RunError::Cancelled),
            Err(failure) => Err(RunError::Failed(failure)),
        }
    }

    /// Claims a network for the task's sandboxes, unless it has one.
    ///
    /// # Errors
    /// None can be created, or someone cancelled the task.
    pub async fn claim_network(&mut self) -> Result<(), RunError> {
        if self.network.is_none() {
            let claimed = tokio::select! {
                claimed = self.networks.claim(&self.waits) => claimed.map_err(RunError::Failed)?,
                () = cancelled(&mut self.cancel) => {
                    self.waits.send_modify(NetworkWait::end);
                    return Err(RunError::Cancelled);
                }
            };
            self.network = Some(claimed);
        }
        Ok(())
    }

    /// Which packages the task asks for.
    pub fn needs(&self) -> Needs {
        Needs::from(&self.task)
    }

    /// Microseconds since the task was submitted.
    pub fn now_us(&self) -> u64 {
        micros(self.clock.elapsed())
    }

    /// The outcome of a run.
    pub fn finish(&self, report: Result<RunReport, RunError>, mut progress: TaskProgress) -> Outcome {
        let report = match report {
            Ok(report) => report,
            Err(RunError::Cancelled) => return self.without_report(End::Cancelled, progress),
            Err(RunError::Failed(failure)) => return self.fail(failure, progress),
        };
        progress.timeline.total_us = self.now_us();
        match outcome::from_report(report, progress.timeline.clone()) {
            Ok(mut outcome) => {
                outcome.warnings.splice(0..0, progress.warnings);
                outcome.warnings.extend(self.log.overflow());
                outcome
            }
            Err(failure) => self.fail(*failure, progress),
        }
    }

    /// The outcome of a task that failed without a report.
    pub fn fail(&self, failure: Failure, progress: TaskProgress) -> Outcome {
        self.without_report(End::Failed { failure }, progress)
    }

    /// The outcome of a task that ended without a report.
    pub fn without_report(&self, end: End, mut progress: TaskProgress) -> Outcome {
        progress.timeline.total_us = self.now_us();
        outcome::without_report(end, &self.task, progress)
    }
}

/// Why there is no report.
pub enum RunError {
    /// Someone cancelled the task.
    Cancelled,
    /// The runner could not report.
    Failed(Failure),
}
