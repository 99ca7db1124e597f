//! A driver in this process as the target of a bench run: fresh epochs for first runs, and peers.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_cluster::Backend;
use hybrid_cache_driver::local::Maintenance;
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::Tenant;
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::outcome::Resolved;
use hybrid_cache_model::sample::{LayerUsage, Peer};
use hybrid_cache_model::{Phase, Scenario, TaskSpec, Temperature, Timeline};
use hybrid_cache_tools::{Error, ErrorContext, Result, failed};

use crate::alternatives::{AlternativeTools, Alternatives, PeerTask};
use crate::machine::Stopwatch;
use crate::mirror::RunningMirror;
use crate::peer;
use crate::peer_driver::PeerDrivers;
use crate::target::{BenchTarget, END_LIMIT, PeerRun, Run, limits};

/// How long the standby pods may take to be ready before a cached run.
const FILL_LIMIT: Duration = Duration::from_secs(60);

/// A driver with its caches, and the drivers that are its peers.
pub struct DriverTarget {
    backend: Backend,
    drivers: PeerDrivers,
    epochs: HashMap<usize, Epoch>,
    /// What people would use instead, with the epoch that holds its folders.
    alternatives: Option<(Alternatives, Epoch)>,
    /// What the latest run of each scenario used.
    resolved: HashMap<usize, Resolved>,
    tenant: Tenant,
    /// The mirror that preparations fetch through.
    mirror: Option<Rc<RunningMirror>>,
    /// Standby pods have been ready once.
    has_filled: bool,
    /// The task that is running: an interruption must end it before its epoch is deleted.
    running: Option<Ticket>,
}

impl DriverTarget {
    /// Measures `backend` for a tenant.
    pub fn new(backend: Backend, drivers: PeerDrivers, tenant: Tenant) -> DriverTarget {
        DriverTarget {
            backend,
            drivers,
            epochs: HashMap::new(),
            alternatives: None,
            resolved: HashMap::new(),
            tenant,
            mirror: None,
            has_filled: false,
            running: None,
        }
    }

    /// Ends the run when this mirror lacks what a task needs: no later first run would work.
    pub fn needs(&mut self, mirror: Option<Rc<RunningMirror>>) {
        self.mirror = mirror;
    }

    /// Also measures what people would use instead, if this is a driver of this machine. All that it keeps lies in an epoch of its own,
    /// which is deleted at the end, or by the next process if this one is killed.
    ///
    /// # Errors
    /// The epoch cannot be created.
    pub async fn add_alternatives(&mut self, tools: AlternativeTools) -> Result<()> {
        if let Backend::Local(local) = &self.backend {
            let epoch = self.backend.driver().fresh_epoch().await?;
            let folder = local.driver.folders().volumes(&epoch).python;
            self.alternatives = Some((Alternatives::new(tools, folder), epoch));
        }
        Ok(())
    }

    async fn alternative(&mut self, at: usize, scenario: &Scenario, peer: Peer) -> Result<Duration> {
        let (Backend::Local(local), Some((alternatives, _))) = (&self.backend, &mut self.alternatives) else {
            return Err(failed!("this target has no such peer"));
        };
        let resolved = self.resolved.get(&at);
        let resolved = resolved.context("no run of the scenario has said which versions it uses")?;
        let interpreter = peer::interpreter(&local.machine.config, &peer::checked(scenario)?)?;
        let task = PeerTask {
            scenario,
            peer,
            interpreter: &interpreter,
            resolved,
        };
        alternatives.run(task).await
    }

    /// Returns the task and the epoch for a run at this temperature.
    async fn prepare(&mut self, at: usize, scenario: &Scenario, temperature: Temperature) -> Result<(TaskSpec, Epoch)> {
        let mut spec = scenario.request.clone();
        let epoch = match temperature {
            Temperature::Uncached => {
                spec.use_cache = false;
                Epoch::Standing
            }
            Temperature::First => {
                let epoch = self.backend.driver().fresh_epoch().await?;
                if let Some(old) = self.epochs.insert(at, epoch.clone()) {
                    self.backend.driver().discard_epoch(&old).await?;
                }
                epoch
            }
            Temperature::Cached => self.epochs.get(&at).cloned().unwrap_or(Epoch::Standing),
        };
        Ok((spec, epoch))
    }

    /// Has all standby pods ready before a cached run, so that its sample finds one free. Not timed.
    async fn fill_standby(&mut self, epoch: &Epoch) -> Result<StandbyState> {
        let Backend::Cluster(cluster) = &self.backend else {
            return Ok(StandbyState::NotAsked);
        };
        if cluster.connection.config.standby.is_none() {
            return Ok(StandbyState::NotAsked);
        }
        match cluster.driver.fill_standby(epoch, &self.tenant, FILL_LIMIT).await {
            Ok(()) => {
                self.has_filled = true;
                Ok(StandbyState::Ready)
            }
            // A cluster that makes none at all would cost each sample this time.
            Err(failure) if !self.has_filled => Err(Error::prerequisite(failure.to_string())),
            Err(failure) => Ok(StandbyState::NotReady(failure.message)),
        }
    }
}

/// The standby pods right before a run.
enum StandbyState {
    /// The run is not one for a standby pod.
    NotAsked,
    /// All were ready.
    Ready,
    /// Some were not, and why.
    NotReady(String),
}

impl StandbyState {
    /// Why a run with this timeline is not one in a standby pod; `None` if it is, or was not meant to be.
    fn disturbance(&self, timeline: &Timeline) -> Option<String> {
        let has = |phase| timeline.spans.iter().any(|span| span.phase == phase);
        let was_in_pod = has(Phase::Claim) && !has(Phase::Submit);
        let why = match self {
            StandbyState::NotAsked => return None,
            _ if was_in_pod => return None,
            StandbyState::Ready => {
                "all were ready before; a task whose caches were last seen to hit an hour ago takes none"
            }
            StandbyState::NotReady(why) => why,
        };
        Some(format!("it did not run in a standby pod: {why}"))
    }
}

#[async_trait(?Send)]
impl BenchTarget for DriverTarget {
    async fn run(&mut self, at: usize, scenario: &Scenario, temperature: Temperature) -> Result<Run> {
        let (spec, epoch) = self.prepare(at, scenario, temperature).await?;
        let standby = match temperature {
            Temperature::Cached => self.fill_standby(&epoch).await?,
            Temperature::First | Temperature::Uncached => StandbyState::NotAsked,
        };
        let driver = self.backend.driver();
        let options = SubmitOptions {
            epoch,
            limits: limits(&self.backend),
            tenant: self.tenant.clone(),
            ..SubmitOptions::default()
        };
        let watch = Stopwatch::start();
        let ticket = driver.submit(&spec, &options).await?;
        self.running = Some(ticket.clone());
        driver.wait(&ticket).await?;
        let moment = watch.stop();
        let stdout = driver.logs(&ticket)?.collect(Stream::Stdout);
        // Wait for publishing to end, so that it does not slow the next sample down.
        let outcome = driver.settle(&ticket).await?;
        self.running = None;
        driver.forget(&ticket);
        if let (false, Some(mirror)) = (outcome.end.is_success(), &self.mirror) {
            mirror.is_complete()?;
        }
        if outcome.end.is_success() {
            self.resolved.insert(at, outcome.resolved.clone());
        }
        let mut timeline = outcome.timeline.clone();
        timeline.total_us = moment.wall_us;
        Ok(Run {
            moment,
            outcome,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            disturbed: standby.disturbance(&timeline),
            timeline,
        })
    }

    async fn peer(&mut self, at: usize, scenario: &Scenario, peer: Peer) -> Result<PeerRun> {
        if Peer::ALTERNATIVES.contains(&peer) {
            return Ok(self.alternative(at, scenario, peer).await?.into());
        }
        let epoch = self.epochs.get(&at).unwrap_or(&Epoch::Standing);
        let wall: Duration = match (peer, &self.backend) {
            (Peer::PlainUv, Backend::Local(local)) => {
                let epochs = local.driver.root().join("epochs");
                peer::plain_uv(&local.machine, scenario, &epochs).await?
            }
            (Peer::DirectExec, Backend::Local(local)) => {
                let volumes = local.driver.folders().volumes(epoch);
                peer::direct_exec(&local.machine, scenario, &volumes.python.join(self.tenant.folder())).await?
            }
            (Peer::BarePod, Backend::Cluster(cluster)) => {
                let bare = cluster.driver.bare_pod(epoch, &scenario.request).await?;
                return Ok(PeerRun {
                    state: bare.state,
                    ..PeerRun::from(bare.wall)
                });
            }
            (Peer::LocalDriver, Backend::Cluster(_)) => {
                let limits = limits(&self.backend);
                let driver = self.drivers.local.as_mut();
                let driver = driver.context("there is no local driver to compare the cluster with")?;
                let taken = driver.cached(scenario, &limits).await?;
                return Ok(PeerRun::with_runner(taken.wall, taken.runner_us));
            }
            (Peer::Job, Backend::Cluster(_)) => {
                let limits = limits(&self.backend);
                let driver = self.drivers.job.as_mut();
                let driver = driver.context("there is no driver of Jobs to compare this one with")?;
                driver.cached(scenario, &limits).await?.wall
            }
            _ => return Err(failed!("this target has no such peer")),
        };
        Ok(wall.into())
    }

    async fn usage(&mut self, at: usize) -> Result<Option<Vec<LayerUsage>>> {
        let Some(epoch) = self.epochs.get(&at) else {
            return Ok(None);
        };
        let report = self.backend.maintain(epoch, Maintenance::Usage).await?;
        Ok(match report {
            MaintainReport::Usage(usage) => Some(usage.layers),
            _ => None,
        })
    }

    async fn end_epochs(&mut self) -> Result<()> {
        for (_, epoch) in self.epochs.drain() {
            self.backend.driver().discard_epoch(&epoch).await?;
        }
        Ok(())
    }

    async fn end_running(&mut self) -> Result<()> {
        if let Some(ticket) = self.running.take() {
            let driver = self.backend.driver();
            driver.cancel(&ticket).await?;
            // A local task that ignores this ends with this process, and the next process deletes its epoch. On a cluster the
            // task's Job has a deadline.
            let _ = tokio::time::timeout(END_LIMIT, driver.settle(&ticket)).await;
        }
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<Vec<String>> {
        let discarded = self.end_epochs().await;
        if let Backend::Cluster(cluster) = &self.backend {
            cluster.end_standby().await?;
        }
        if let Some((alternatives, epoch)) = self.alternatives.take() {
            drop(alternatives);
            self.backend.driver().discard_epoch(&epoch).await?;
        }
        for driver in [self.drivers.local, self.drivers.job].into_iter().flatten() {
            driver.end().await?;
        }
        discarded.map(|()| Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::Lane;

    use super::*;

    #[test]
    fn a_run_that_a_job_took_over_is_not_one_in_a_standby_pod() {
        let timeline = |phases: &[Phase]| {
            let mut timeline = Timeline::default();
            phases
                .iter()
                .for_each(|phase| timeline.push(*phase, Lane::Driver, 0, 10));
            timeline
        };
        let claimed = timeline(&[Phase::Claim, Phase::Sandbox]);
        let both = timeline(&[Phase::Claim, Phase::Submit, Phase::Sandbox]);
        let job = timeline(&[Phase::Submit, Phase::Sandbox]);
        assert_eq!(StandbyState::Ready.disturbance(&claimed), None);
        assert_eq!(StandbyState::NotAsked.disturbance(&job), None);
        let late = StandbyState::NotReady("1 of 2 are ready".to_owned());
        assert_eq!(late.disturbance(&claimed), None, "one was free all the same");
        for taken_over in [&both, &job] {
            let said = StandbyState::Ready.disturbance(taken_over).unwrap();
            assert!(said.starts_with("it did not run in a standby pod: "), "{said}");
            assert!(late.disturbance(taken_over).unwrap().ends_with("1 of 2 are ready"));
        }
    }
}
