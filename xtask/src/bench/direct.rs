//! A driver at hand as the place to measure: fresh epochs for first runs, peers beside it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use hybrid_cache_driver::local::Maintenance;
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::Tenant;
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::sample::{LayerUsage, Peer};
use hybrid_cache_model::{Scenario, TaskSpec, Temperature};

use super::beside::Beside;
use super::machine::Watch;
use super::peer;
use super::place::{END_LIMIT, PeerRun, Place, Run, limits};
use crate::subject::Subject;

/// The drivers beside a cluster's.
#[derive(Default)]
pub struct Neighbours {
    /// The local driver, where this machine can run tasks too.
    pub local: Option<Beside>,
    /// One that runs the same tasks as Jobs, where Workflows are measured.
    pub job: Option<Beside>,
}

/// A driver with its caches.
pub struct Direct {
    subject: Subject,
    beside: Neighbours,
    epochs: HashMap<usize, Epoch>,
    tenant: Tenant,
    /// What is running at the moment: an interruption must end it before its epoch is deleted.
    running: Option<Ticket>,
}

impl Direct {
    /// Measures this one, for this tenant.
    pub fn new(subject: Subject, beside: Neighbours, tenant: Tenant) -> Direct {
        Direct {
            subject,
            beside,
            epochs: HashMap::new(),
            tenant,
            running: None,
        }
    }

    /// The task and the epoch that give a run its temperature.
    async fn prepare(&mut self, at: usize, scenario: &Scenario, temperature: Temperature) -> Result<(TaskSpec, Epoch)> {
        let mut spec = scenario.request.clone();
        let epoch = match temperature {
            Temperature::Uncached => {
                spec.use_cache = false;
                Epoch::Standing
            }
            Temperature::First => {
                let epoch = self.subject.driver().fresh_epoch().await?;
                if let Some(old) = self.epochs.insert(at, epoch.clone()) {
                    self.subject.driver().discard_epoch(&old).await?;
                }
                epoch
            }
            Temperature::Cached => self.epochs.get(&at).cloned().unwrap_or(Epoch::Standing),
        };
        Ok((spec, epoch))
    }
}

#[async_trait(?Send)]
impl Place for Direct {
    async fn run(&mut self, at: usize, scenario: &Scenario, temperature: Temperature) -> Result<Run> {
        let (spec, epoch) = self.prepare(at, scenario, temperature).await?;
        let driver = self.subject.driver();
        let options = SubmitOptions {
            epoch,
            limits: limits(&self.subject),
            tenant: self.tenant.clone(),
            ..SubmitOptions::default()
        };
        let watch = Watch::start();
        let ticket = driver.submit(&spec, &options).await?;
        self.running = Some(ticket.clone());
        driver.wait(&ticket).await?;
        let moment = watch.stop();
        let stdout = driver.logs(&ticket)?.collect(Stream::Stdout);
        // Publishing ends before the next sample begins, so that no run pays for another one.
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
        let wall: Duration = match (peer, &self.subject) {
            (Peer::PlainUv, Subject::Machine(on)) => {
                let name = format!("peer-{}", std::process::id());
                let folder = on.driver.root().join("epochs").join(name);
                peer::plain_uv(&on.machine, scenario, &folder).await?
            }
            (Peer::DirectExec, Subject::Machine(on)) => {
                let volumes = on.driver.folders().volumes(epoch);
                peer::direct_exec(&on.machine, scenario, &volumes.python.join(self.tenant.folder())).await?
            }
            (Peer::BarePod, Subject::Cluster(on)) => on.driver.bare_pod(epoch, &scenario.request).await?,
            (Peer::LocalDriver, Subject::Cluster(_)) => {
                let limits = limits(&self.subject);
                let beside = self.beside.local.as_mut();
                let beside = beside.context("there is no local driver beside the cluster")?;
                let taken = beside.cached(scenario, &limits).await?;
                return Ok((taken.wall, Some(taken.runner_us)));
            }
            (Peer::Job, Subject::Cluster(_)) => {
                let limits = limits(&self.subject);
                let beside = self.beside.job.as_mut();
                let beside = beside.context("there is no driver of Jobs beside that of Workflows")?;
                beside.cached(scenario, &limits).await?.wall
            }
            _ => bail!("it is no peer here"),
        };
        Ok((wall, None))
    }

    async fn usage(&mut self, at: usize) -> Result<Option<Vec<LayerUsage>>> {
        let Some(epoch) = self.epochs.get(&at) else {
            return Ok(None);
        };
        let report = self.subject.maintain(epoch, Maintenance::Usage).await?;
        Ok(match report {
            MaintainReport::Usage(usage) => Some(usage.layers),
            _ => None,
        })
    }

    async fn end_round(&mut self) -> Result<()> {
        for (_, epoch) in self.epochs.drain() {
            self.subject.driver().discard_epoch(&epoch).await?;
        }
        Ok(())
    }

    async fn end_running(&mut self) -> Result<()> {
        if let Some(ticket) = self.running.take() {
            let driver = self.subject.driver();
            driver.cancel(&ticket).await?;
            // On this machine a task that does not end ends with this process, and its epoch is swept by the next one; on a
            // cluster its Job has a deadline.
            let _ = tokio::time::timeout(END_LIMIT, driver.settle(&ticket)).await;
        }
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<Vec<String>> {
        let discarded = self.end_round().await;
        for beside in [self.beside.local, self.beside.job].into_iter().flatten() {
            beside.end().await?;
        }
        discarded.map(|()| Vec::new())
    }
}
