//! One task's way through the local driver: look up, prepare on a miss, run, publish.

mod prepared;

use std::time::Instant;

use hybrid_cache_model::outcome::{CacheReport, CacheStatus, Output, Resolved};
use hybrid_cache_model::protocol::{Environments, Keep, Missed, RunReport};
use hybrid_cache_model::{CachePolicy, End, Failure, FailureKind, Lane, Outcome, Phase, Task, TaskSpec, Timeline};
use tokio::sync::watch;

use super::config::LocalConfig;
use super::folders::{Folders, VolumePair};
use super::layout;
use super::maintain;
use super::memory::{self, MemoryGroups};
use super::network::{Networks, TaskNetwork, Wait};
use super::process::{self, CancelFlag, micros};
use super::requests;
use super::sandbox::{self, HostLayout, Needs};
use crate::SubmitOptions;
use crate::log::LogWriter;
use crate::trace::{Noted, Notes, Recorder};

/// What one task's flow works with.
pub struct Flow {
    /// The driver's configuration.
    pub config: std::sync::Arc<LocalConfig>,
    /// The machine's layout.
    pub host: std::sync::Arc<HostLayout>,
    /// The cache folder.
    pub folders: Folders,
    /// Where control groups are made.
    pub memory: std::sync::Arc<MemoryGroups>,
    /// Networks of tasks.
    pub networks: std::sync::Arc<Networks>,
    /// The one that this task has, from its first sandbox on.
    pub network: Option<TaskNetwork>,
    /// The ticket's id.
    pub id: String,
    /// The task as submitted.
    pub spec: TaskSpec,
    /// The task as checked.
    pub task: Task,
    /// How to run it.
    pub options: SubmitOptions,
    /// Where its output goes.
    pub log: std::sync::Arc<LogWriter>,
    /// Whether somebody cancelled it.
    pub cancel: CancelFlag,
    /// Tells which phase of preparing is under way.
    pub preparing: watch::Sender<Option<Phase>>,
    /// Tells of waits for a network.
    pub waits: watch::Sender<Wait>,
    /// When it was submitted, and the timeline since then.
    pub clock: Instant,
    /// Takes a note of the task, where requests are recorded.
    pub trace: Option<std::sync::Arc<Recorder>>,
    /// What is noted beside the outcome.
    pub notes: Notes,
}

/// The state of a flow under way.
#[derive(Default)]
struct Progress {
    timeline: Timeline,
    warnings: Vec<String>,
}

impl Flow {
    /// Runs the task. `ended` gets the outcome as soon as the user's program has ended; the returned one has what
    /// came after it too.
    pub async fn run(mut self, ended: &watch::Sender<Option<Outcome>>) -> Outcome {
        let mut progress = Progress {
            timeline: Timeline::default(),
            warnings: Vec::new(),
        };
        progress.timeline.push(Phase::Submit, Lane::Driver, 0, self.now_us());
        let outcome = match self.task.cache {
            CachePolicy::Use => {
                let volumes = self.folders.of(&self.options.epoch);
                self.run_cached(&volumes, progress, ended).await
            }
            CachePolicy::Bypass => self.run_bypassed(progress, ended).await,
        };
        self.log.close();
        ended.send_replace(Some(outcome.clone()));
        self.note(&outcome);
        outcome
    }

    /// Notes the request, which takes some microseconds; nobody waits for the task any more.
    fn note(&self, outcome: &Outcome) {
        if let Some(trace) = &self.trace {
            trace.note(Noted {
                task: &self.task,
                tenant: &self.options.tenant,
                epoch: &self.options.epoch,
                outcome,
                notes: &self.notes,
            });
        }
    }

    async fn run_cached(
        &mut self,
        volumes: &VolumePair,
        mut progress: Progress,
        ended: &watch::Sender<Option<Outcome>>,
    ) -> Outcome {
        if let Err(failure) = layout::ensure(volumes, &self.options.tenant, self.needs()) {
            return self.fail(failure, progress);
        }
        let missed = match self.execute(volumes, Environments::Lookup, false, &mut progress).await {
            Ok(RunReport::Missed { missed, .. }) => {
                self.notes.expired = missed.python_stale;
                missed
            }
            other => {
                let outcome = self.finish(other, progress);
                ended.send_replace(Some(outcome.clone()));
                maintain::touch(&self.config, volumes, &self.options.tenant, &self.task);
                return outcome;
            }
        };
        self.prepare_and_run(volumes, Keep::Publish, missed, progress, ended)
            .await
    }

    async fn run_bypassed(&mut self, progress: Progress, ended: &watch::Sender<Option<Outcome>>) -> Outcome {
        let made = self.folders.create_bypass(&self.id);
        let made = made.map_err(|error| Failure::new(FailureKind::CacheAccess, error.to_string()));
        let laid_out = made.and_then(|volumes| {
            layout::ensure(&volumes, &self.options.tenant, self.needs())?;
            Ok(volumes)
        });
        let volumes = match laid_out {
            Ok(volumes) => volumes,
            Err(failure) => return self.fail(failure, progress),
        };
        let missed = Missed {
            python: !self.task.requirements.is_empty(),
            python_stale: false,
            system: !self.task.system.is_empty(),
        };
        let mut outcome = if missed.python || missed.system {
            self.prepare_and_run(&volumes, Keep::Discard, missed, progress, ended)
                .await
        } else {
            let mut progress = progress;
            let report = self.execute(&volumes, Environments::Lookup, false, &mut progress).await;
            self.finish(report, progress)
        };
        let (folders, id) = (self.folders.clone(), self.id.clone());
        // It may be gigabytes: other tasks go on meanwhile.
        let deleted = tokio::task::spawn_blocking(move || folders.delete_bypass(&id)).await;
        let problem = match deleted {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(panic.to_string()),
        };
        outcome.warnings.extend(problem);
        outcome
    }

    /// Runs the runner once in the task's sandbox and adds it to the timeline.
    async fn execute(
        &mut self,
        volumes: &VolumePair,
        environments: Environments,
        accept_stale: bool,
        progress: &mut Progress,
    ) -> Result<RunReport, Cut> {
        self.execute_in(volumes, environments, None, accept_stale, progress)
            .await
    }

    /// The same with a staged environment.
    async fn execute_in(
        &mut self,
        volumes: &VolumePair,
        environments: Environments,
        staged: Option<&std::path::Path>,
        accept_stale: bool,
        progress: &mut Progress,
    ) -> Result<RunReport, Cut> {
        let start_us = self.now_us();
        let needs = self.needs();
        let (tenant, limits) = (&self.options.tenant, &self.options.limits);
        let network = match &mut self.network {
            Some(network) => network,
            none => {
                let claimed = tokio::select! {
                    claimed = self.networks.claim(&self.waits) => claimed.map_err(Cut::Failed)?,
                    () = process::cancelled(&mut self.cancel) => {
                        self.waits.send_modify(Wait::end);
                        return Err(Cut::Cancelled);
                    }
                };
                none.insert(claimed)
            }
        };
        progress.warnings.extend(self.networks.warning());
        let host = self.host.with_resolver(network.resolver());
        let command = sandbox::task_command(&self.config, &host, volumes, tenant, needs, staged, limits);
        let command = network.enter(command);
        let (config, identity) = (&self.config, self.host.identity);
        let request = requests::run_request(config, &self.spec, &self.options, identity, environments, accept_stale);
        let mut group = None;
        let (groups, id, bytes) = (&self.memory, &self.id, self.options.limits.memory_bytes);
        let enter = || memory::enter(groups, id, bytes, &mut group, &mut progress.warnings);
        let ran = process::run(&command, &request, enter, &self.log, &mut self.cancel).await;
        progress.warnings.extend(group.and_then(|group| group.out_of_memory()));
        if ran.ended {
            network.left();
        }
        if !matches!(ran.report, Ok(RunReport::Missed { .. })) {
            // What follows runs no user code: another task may have the network.
            self.network = None;
        }
        if let Ok(RunReport::Finished { keys, .. }) = &ran.report {
            self.notes.keys = keys.clone();
        }
        let inner = match &ran.report {
            Ok(RunReport::Finished { timeline, .. } | RunReport::Missed { timeline, .. }) => timeline.clone(),
            Err(_) => Timeline::default(),
        };
        progress.timeline.nest(&inner, start_us, ran.outer_us);
        match ran.report {
            Ok(report) => Ok(report),
            Err(_) if ran.cancelled => Err(Cut::Cancelled),
            Err(failure) => Err(Cut::Failed(failure)),
        }
    }

    fn needs(&self) -> Needs {
        requests::needs(&self.task)
    }

    fn now_us(&self) -> u64 {
        micros(self.clock.elapsed())
    }

    fn finish(&self, report: Result<RunReport, Cut>, mut progress: Progress) -> Outcome {
        match report {
            Ok(RunReport::Finished {
                end,
                cache,
                timeline,
                stdout,
                stderr,
                resolved,
                warnings,
                ..
            }) => {
                progress.timeline.total_us = self.now_us();
                progress
                    .warnings
                    .extend(warnings.into_iter().chain(self.log.overflow()));
                let Progress {
                    timeline: whole,
                    warnings,
                } = progress;
                Outcome {
                    end,
                    cache,
                    timeline: whole,
                    runner_us: timeline.total_us,
                    stdout,
                    stderr,
                    resolved,
                    warnings,
                    not_kept: None,
                }
            }
            Ok(report @ RunReport::Missed { .. }) => {
                let message = format!("an environment that was just prepared is missing: {report:?}");
                self.fail(Failure::new(FailureKind::Internal, message), progress)
            }
            Err(Cut::Cancelled) => self.end(End::Cancelled, progress),
            Err(Cut::Failed(failure)) => self.fail(failure, progress),
        }
    }

    fn fail(&self, failure: Failure, progress: Progress) -> Outcome {
        self.end(End::Failed { failure }, progress)
    }

    fn end(&self, end: End, mut progress: Progress) -> Outcome {
        progress.timeline.total_us = self.now_us();
        let asked = |asked: bool| match (asked, self.task.cache) {
            (false, _) | (true, CachePolicy::Use) => CacheStatus::NotAsked,
            (true, CachePolicy::Bypass) => CacheStatus::Bypassed,
        };
        let needs = self.needs();
        Outcome {
            end,
            cache: CacheReport {
                python: asked(needs.python),
                system: asked(needs.system),
            },
            timeline: progress.timeline,
            runner_us: 0,
            stdout: Output::default(),
            stderr: Output::default(),
            resolved: Resolved::default(),
            warnings: progress.warnings,
            not_kept: None,
        }
    }
}

/// Why there is no report.
enum Cut {
    Cancelled,
    Failed(Failure),
}
