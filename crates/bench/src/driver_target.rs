//! A driver in this process as the target of a bench run: fresh epochs for first runs, and peers.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_cluster::Backend;
use hybrid_cache_driver::local::Maintenance;
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::Tenant;
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::sample::{LayerUsage, Peer};
use hybrid_cache_model::{Scenario, TaskSpec, Temperature};
use hybrid_cache_tools::{ErrorContext, Result, failed};

use crate::machine::Stopwatch;
use crate::peer;
use crate::peer_driver::PeerDrivers;
use crate::target::{BenchTarget, END_LIMIT, PeerRun, Run, limits};

/// A driver with its caches, and the drivers that are its peers.
pub struct DriverTarget {
    backend: Backend,
    drivers: PeerDrivers,
    epochs: HashMap<usize, Epoch>,
    tenant: Tenant,
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
            tenant,
            running: None,
        }
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
}

#[async_trait(?Send)]
impl BenchTarget for DriverTarget {
    async fn run(&mut self, at: usize, scenario: &Scenario, temperature: Temperature) -> Result<Run> {
        let (spec, epoch) = self.prepare(at, scenario, temperature).await?;
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

    async fn peer(&mut self, at: usize, scenario: &Scenario, peer: Peer) -> Result<PeerRun> {
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
            (Peer::BarePod, Backend::Cluster(cluster)) => cluster.driver.bare_pod(epoch, &scenario.request).await?,
            (Peer::LocalDriver, Backend::Cluster(_)) => {
                let limits = limits(&self.backend);
                let driver = self.drivers.local.as_mut();
                let driver = driver.context("there is no local driver to compare the cluster with")?;
                let taken = driver.cached(scenario, &limits).await?;
                return Ok((taken.wall, Some(taken.runner_us)));
            }
            (Peer::Job, Backend::Cluster(_)) => {
                let limits = limits(&self.backend);
                let driver = self.drivers.job.as_mut();
                let driver = driver.context("there is no driver of Jobs to compare the driver of Workflows with")?;
                driver.cached(scenario, &limits).await?.wall
            }
            _ => return Err(failed!("this target has no such peer")),
        };
        Ok((wall, None))
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
        for driver in [self.drivers.local, self.drivers.job].into_iter().flatten() {
            driver.end().await?;
        }
        discarded.map(|()| Vec::new())
    }
}
