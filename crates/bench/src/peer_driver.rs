//! A driver beside what is measured: the same scenarios, cached, in caches of their own. The local one beside a cluster,
//! and a service's own kind beside the service.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::Tenant;
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::sample::{Acceptance, judge};
use hybrid_cache_model::{Outcome, Scenario, Temperature};

use super::place::END_LIMIT;
use crate::checkout::Checkout;
use crate::flags::{self, DriverName};
use crate::subject::Subject;

/// A driver as a peer.
pub struct Beside {
    on: Subject,
    /// One for the whole bench run: nothing of it is left in the caches that everybody uses.
    epoch: Option<Epoch>,
    filled: HashSet<String>,
    running: Option<Ticket>,
    tenant: Tenant,
}

/// What the peer took.
pub struct Taken {
    /// From submit to the end.
    pub wall: Duration,
    /// From its runner's start to its exit, in microseconds.
    pub runner_us: u64,
}

impl Beside {
    /// Opens the driver of that name.
    ///
    /// # Errors
    /// It cannot run tasks.
    pub async fn open(checkout: &Checkout, name: DriverName, flags: &flags::Bench) -> Result<Beside> {
        Ok(Beside {
            on: Subject::open(checkout, name, &flags.local, &flags.cluster).await?,
            epoch: None,
            filled: HashSet::new(),
            running: None,
            tenant: flags.tenant.clone(),
        })
    }

    /// The place itself.
    pub fn subject(&self) -> &Subject {
        &self.on
    }

    /// True where it has all that the scenario asks for.
    pub fn can_run(&self, scenario: &Scenario) -> bool {
        self.on.can_run_task(&scenario.request).is_ok()
    }

    /// Takes one cached run; the first one of a scenario is preceded by one that fills the caches and is not measured.
    ///
    /// # Errors
    /// The run failed, printed something else than it should, or was not cached.
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
            Acceptance::WrongTemperature { reason } | Acceptance::Failed { reason } => bail!("{reason}"),
        }
    }

    async fn run(&mut self, scenario: &Scenario, limits: &Limits) -> Result<(Duration, Outcome, String)> {
        let driver = self.on.driver();
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

    /// Ends what runs and deletes the caches of this bench run.
    ///
    /// # Errors
    /// They cannot be deleted; the next process that opens the driver does.
    pub async fn end(mut self) -> Result<()> {
        let driver = self.on.driver();
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
