//! This machine's driver as the target of runs at levels of cold.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hybrid_cache_cluster::LocalBackend;
use hybrid_cache_driver::local::{LocalConfig, LocalDriver};
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::level::{Level, LevelSeen, ToolsSeen};
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::sample::{LayerUsage, Peer};
use hybrid_cache_model::{Failure, FailureKind, Lane, Outcome, Phase, Scenario, Temperature, Tenant, Timeline};
use hybrid_cache_tools::{ErrorContext, Result, failed};
use tokio::task::JoinHandle;

use super::contents::{self, Contents};
use super::task_reading::TaskReading;
use super::{ToolSource, config_of};
use crate::machine::Stopwatch;
use crate::target::{BenchTarget, END_LIMIT, LevelRun, PeerRun, Run};

/// This machine, whose caches are brought to a level before each run.
pub struct LevelsTarget {
    pub(super) config: LocalConfig,
    pub(super) driver: Arc<LocalDriver>,
    /// The epoch with our programs, and the driver that made it and the network.
    programs: (LocalDriver, Epoch),
    pub(super) tools: ToolSource,
    limits: Limits,
    tenant: Tenant,
    /// The filled epoch of each scenario.
    pub(super) filled: HashMap<usize, Epoch>,
    /// Store paths that the latest run of each scenario used.
    pub(super) built: HashMap<usize, Vec<String>>,
    /// Epochs of the current step. They are deleted at its end, or by the next one if it was interrupted.
    pub(super) temporary: Vec<Epoch>,
    /// Tools that are being brought: nothing can interrupt this, and its folder must not be deleted before it ends.
    pub(super) bringing: Option<JoinHandle<()>>,
    running: Option<(Arc<LocalDriver>, Ticket)>,
}

/// A level that was produced.
pub(super) struct Produced {
    pub at: usize,
    pub level: Level,
    pub epoch: Epoch,
    /// The driver of the run, which has tools of its own if they were brought for it.
    pub driver: Arc<LocalDriver>,
    /// What is known before the run; what the caches did is added after it.
    pub seen: LevelSeen,
    pub python: Contents,
    pub system: Contents,
}

/// A run that was not judged yet.
struct Ran {
    run: Run,
    seen: LevelSeen,
}

impl LevelsTarget {
    /// Measures this machine for a tenant. Tasks run with a copy of the runner: the process that keeps the network of tasks has the
    /// original mapped, so that its pages cannot be dropped.
    ///
    /// # Errors
    /// The caches cannot be opened, or the runner cannot be copied.
    pub async fn open(local: LocalBackend, limits: Limits, tools: ToolSource, tenant: Tenant) -> Result<LevelsTarget> {
        // This makes the network.
        local.driver.network().await;
        let programs = local.driver.fresh_epoch().await?;
        let runner = local.driver.folders().volumes(&programs).python.join("runner");
        std::fs::copy(&local.machine.config.runner, &runner)
            .with_context(|| format!("copying the runner to {}", runner.display()))?;
        let config = LocalConfig {
            runner,
            ..local.machine.config
        };
        let driver = LocalDriver::open(config.clone()).context("opening the caches")?;
        Ok(LevelsTarget {
            config,
            driver: Arc::new(driver),
            programs: (local.driver, programs),
            tools,
            limits,
            tenant,
            filled: HashMap::new(),
            built: HashMap::new(),
            temporary: Vec::new(),
            bringing: None,
            running: None,
        })
    }

    /// Takes the run of a level that was produced.
    pub(super) async fn measured(&mut self, scenario: &Scenario, produced: Produced) -> Result<LevelRun> {
        let (at, level, epoch) = (produced.at, produced.level, produced.epoch.clone());
        let Ran { run, seen } = self.ran(scenario, produced).await?;
        let is_kept = run.outcome.end.is_success() && run.outcome.not_kept.is_none();
        if is_kept {
            self.built.insert(at, run.outcome.resolved.system.clone());
        }
        // The epoch of a run with tools of its own goes with them.
        if is_kept && level != Level::Nothing {
            self.temporary.retain(|one| *one != epoch);
            if let Some(old) = self.filled.insert(at, epoch.clone())
                && old != epoch
            {
                self.temporary.push(old);
            }
        } else if self.filled.get(&at) == Some(&epoch) {
            self.temporary.extend(self.filled.remove(&at));
        }
        Ok(LevelRun { run, seen })
    }

    /// Runs a scenario in an epoch, without counting it, so that the epoch is filled and everything warm.
    pub(super) async fn fill(&mut self, scenario: &Scenario, at: usize, epoch: &Epoch) -> Result<()> {
        let driver = Arc::clone(&self.driver);
        let run = self.task(&driver, scenario, epoch).await?;
        if let Some(failure) = &run.outcome.not_kept {
            return Err(failed!("what a run prepared could not be kept: {failure}"));
        }
        if !run.outcome.end.is_success() {
            return Err(failed!(
                "a run that fills the caches did not succeed: {:?}",
                run.outcome.end
            ));
        }
        self.built.insert(at, run.outcome.resolved.system);
        Ok(())
    }

    async fn ran(&mut self, scenario: &Scenario, produced: Produced) -> Result<Ran> {
        let Produced {
            at,
            epoch,
            driver,
            mut seen,
            python,
            system,
            ..
        } = produced;
        let before = TaskReading::now();
        let mut run = self.task(&driver, scenario, &epoch).await?;
        TaskReading::now().add_since(&before, &mut seen);
        let [after_python, after_system] = self.contents(at, &driver, &epoch);
        seen.python = scenario.asks_python().then(|| python.seen(&after_python));
        seen.system = scenario.asks_system().then(|| system.seen(&after_system));
        if let Some(tools) = &seen.tools {
            put_in_front(tools, &mut run);
        }
        Ok(Ran { run, seen })
    }

    /// What both caches of an epoch hold now.
    pub(super) fn contents(&self, at: usize, driver: &LocalDriver, epoch: &Epoch) -> [Contents; 2] {
        let volumes = driver.folders().volumes(epoch);
        let built = self.built.get(&at).map(Vec::as_slice).unwrap_or_default();
        let system = self.config.system.as_ref();
        let system = system.map(|system| contents::system(&volumes, &system.tools.source, built));
        [contents::python(&volumes), system.unwrap_or_default()]
    }

    async fn task(&mut self, driver: &Arc<LocalDriver>, scenario: &Scenario, epoch: &Epoch) -> Result<Run> {
        let options = SubmitOptions {
            epoch: epoch.clone(),
            limits: self.limits.clone(),
            tenant: self.tenant.clone(),
            ..SubmitOptions::default()
        };
        let watch = Stopwatch::start();
        let ticket = driver.submit(&scenario.request, &options).await?;
        self.running = Some((Arc::clone(driver), ticket.clone()));
        driver.wait(&ticket).await?;
        let moment = watch.stop();
        let stdout = driver.logs(&ticket)?.collect(Stream::Stdout);
        let outcome = driver.settle(&ticket).await?;
        self.running = None;
        driver.forget(&ticket);
        let mut timeline = outcome.timeline.clone();
        timeline.total_us = moment.wall_us;
        Ok(Run {
            moment,
            outcome,
            timeline,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            disturbed: None,
        })
    }

    /// Deletes what the last step has left.
    pub(super) async fn clear(&mut self) -> Result<()> {
        if let Some(bringing) = self.bringing.take()
            && tokio::time::timeout(END_LIMIT, bringing).await.is_err()
        {
            // It goes on until this process ends.
            self.temporary.clear();
            return Err(failed!(
                "tools are still being brought; the next run deletes their folder"
            ));
        }
        for epoch in std::mem::take(&mut self.temporary) {
            self.driver.discard_epoch(&epoch).await?;
        }
        Ok(())
    }

    /// The configuration for the interpreter that a scenario asks for.
    pub(super) fn config_of(&self, scenario: &Scenario) -> Result<LocalConfig> {
        config_of(&self.config, scenario)
    }

    /// The folder that every sandbox sees.
    pub(super) fn shared(&self) -> PathBuf {
        self.driver.folders().sandbox()
    }
}

/// Counts the time of bringing tools as the first part of a run.
fn put_in_front(tools: &ToolsSeen, run: &mut Run) {
    let mut timeline = Timeline::default();
    timeline.push(Phase::BringTools, Lane::Driver, 0, tools.bring_us);
    timeline.spans.extend(run.timeline.spans.iter().map(|span| {
        let mut span = *span;
        span.start_us += tools.bring_us;
        span
    }));
    run.moment.wall_us += tools.bring_us;
    timeline.total_us = run.moment.wall_us;
    run.timeline = timeline;
}

/// A level that could not be produced, as a run that failed.
fn not_produced(watch: Stopwatch, level: Level, reason: &str) -> LevelRun {
    let message = format!("level {} could not be produced: {reason}", level.name());
    LevelRun {
        run: Run {
            moment: watch.stop(),
            outcome: Outcome::without_start(Failure::new(FailureKind::Tool, message.as_str())),
            timeline: Timeline::default(),
            stdout: String::new(),
            disturbed: Some(message),
        },
        seen: LevelSeen::default(),
    }
}

#[async_trait(?Send)]
impl BenchTarget for LevelsTarget {
    async fn run(&mut self, _: usize, _: &Scenario, _: Temperature) -> Result<Run> {
        Err(failed!("this target measures levels only"))
    }

    async fn peer(&mut self, _: usize, _: &Scenario, _: Peer) -> Result<PeerRun> {
        Err(failed!("this target has no such peer"))
    }

    async fn level(&mut self, at: usize, scenario: &Scenario, level: Level) -> Result<LevelRun> {
        let watch = Stopwatch::start();
        self.clear().await?;
        let measured = match self.produce(at, scenario, level).await {
            Ok(produced) => self.measured(scenario, produced).await?,
            Err(error) => {
                // What it has left is in an unknown state.
                self.temporary.extend(self.filled.remove(&at));
                not_produced(watch, level, &format!("{error:#}"))
            }
        };
        self.clear().await?;
        Ok(measured)
    }

    async fn usage(&mut self, _: usize) -> Result<Option<Vec<LayerUsage>>> {
        Ok(None)
    }

    async fn end_epochs(&mut self) -> Result<()> {
        self.temporary.extend(self.filled.drain().map(|(_, epoch)| epoch));
        self.clear().await
    }

    async fn end_running(&mut self) -> Result<()> {
        if let Some((driver, ticket)) = self.running.take() {
            driver.cancel(&ticket).await?;
            // A task that ignores this ends with this process, and the next process deletes its epoch.
            let _ = tokio::time::timeout(END_LIMIT, driver.settle(&ticket)).await;
        }
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<Vec<String>> {
        let ended = self.end_epochs().await;
        let (driver, programs) = &self.programs;
        driver.discard_epoch(programs).await?;
        ended.map(|()| Vec::new())
    }
}
