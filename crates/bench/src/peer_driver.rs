//! A driver that is measured as a peer: the same scenarios, cached, in separate caches. The local driver is the peer of a
//! cluster's driver, and a driver of the service's kind is the peer of a service.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hybrid_cache_cluster::{Backend, BackendKind, ClusterChoice, StandbyChoice};
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::Tenant;
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::sample::{Acceptance, judge};
use hybrid_cache_model::{Outcome, Scenario, Temperature};
use hybrid_cache_tools::{Checkout, Progress, Result, failed};

use crate::options::BenchOptions;
use crate::target::END_LIMIT;

/// The drivers that are peers of a cluster's driver.
#[derive(Default)]
pub struct PeerDrivers {
    /// The local driver; `None` if this machine cannot run tasks.
    pub local: Option<PeerDriver>,
    /// A driver that runs the same tasks as Jobs; `None` unless Workflows or standby pods are measured.
    pub job: Option<PeerDriver>,
}

/// A driver as a peer.
pub struct PeerDriver {
    backend: Backend,
    /// One epoch for the whole bench run, so that nothing is left in the shared caches.
    epoch: Option<Epoch>,
    filled: HashSet<String>,
    running: Option<Ticket>,
    tenant: Tenant,
}

/// Durations of a peer's run.
pub struct Taken {
    /// From submit to end.
    pub wall: Duration,
    /// From the runner's start to its exit, in microseconds.
    pub runner_us: u64,
}

impl PeerDriver {
    /// Opens a driver of this kind, without standby pods.
    ///
    /// # Errors
    /// The driver cannot run tasks.
    pub async fn open(
        checkout: &Checkout,
        kind: BackendKind,
        options: &BenchOptions,
        progress: &dyn Progress,
    ) -> Result<PeerDriver> {
        let cluster = ClusterChoice {
            standby: StandbyChoice::None,
            ..options.cluster.clone()
        };
        Ok(PeerDriver {
            backend: Backend::open(checkout, kind, &options.machine, &cluster, progress).await?,
            epoch: None,
            filled: HashSet::new(),
            running: None,
            tenant: options.tenant.clone(),
        })
    }

    /// The driver with what it runs on.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// True if the driver has everything that the scenario needs.
    pub fn can_run(&self, scenario: &Scenario) -> bool {
        self.backend.can_run_task(&scenario.request).is_ok()
    }

    /// Takes one cached run. Before the first one of a scenario, another run fills the caches and is not measured.
    ///
    /// # Errors
    /// The run failed, its output differs from the expected one, or it was not cached.
    pub async fn cached(&mut self, scenario: &Scenario, limits: &Limits) -> Result<Taken> {
        if !self.filled.contains(&scenario.name) {
            self.run(scenario, limits).await?;
            self.filled.insert(scenario.name.clone());
        }
        let (wall, outcome, stdout) = self.run(scenario, limits).await?;
        match judge(scenario, Temperature::Cached, &outcome, &stdout) {
            Acceptance::Accepted => Ok(Taken {
                wall,
                runner_us: outcome.runner_us,
            }),
            Acceptance::WrongTemperature { reason } | Acceptance::Failed { reason } => Err(failed!("{reason}")),
        }
    }

    async fn run(&mut self, scenario: &Scenario, limits: &Limits) -> Result<(Duration, Outcome, String)> {
        let driver = self.backend.driver();
        let epoch = match &self.epoch {
            Some(epoch) => epoch.clone(),
            None => self.epoch.insert(driver.fresh_epoch().await?).clone(),
        };
        let options = SubmitOptions {
            epoch,
            limits: limits.clone(),
            tenant: self.tenant.clone(),
            ..SubmitOptions::default()
        };
        let started = Instant::now();
        let ticket = driver.submit(&scenario.request, &options).await?;
        self.running = Some(ticket.clone());
        driver.wait(&ticket).await?;
        let wall = started.elapsed();
        let stdout = driver.logs(&ticket)?.collect(Stream::Stdout);
        let outcome = driver.settle(&ticket).await?;
        self.running = None;
        driver.forget(&ticket);
        Ok((wall, outcome, String::from_utf8_lossy(&stdout).into_owned()))
    }

    /// Ends the running task and deletes the caches of this bench run.
    ///
    /// # Errors
    /// The caches cannot be deleted; the next process that opens the driver deletes them.
    pub async fn end(mut self) -> Result<()> {
        let driver = self.backend.driver();
        if let Some(ticket) = self.running.take() {
            driver.cancel(&ticket).await?;
            let _ = tokio::time::timeout(END_LIMIT, driver.settle(&ticket)).await;
        }
        match &self.epoch {
            Some(epoch) => Ok(driver.discard_epoch(epoch).await?),
            None => Ok(()),
        }
    }
}
