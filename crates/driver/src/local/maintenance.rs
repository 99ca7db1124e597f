//! What the driver offers to look after the caches of this machine: usage, eviction, checks, and filling them in advance.

use hybrid_cache_model::budget::{BudgetRequest, Budgets};
use hybrid_cache_model::maintain::{MaintainReport, MaintainRequest};
use hybrid_cache_model::protocol::{Keep, PrepareEvent};
use hybrid_cache_model::{CacheReport, Failure, TaskSpec};

use crate::local::driver::LocalDriver;
use crate::local::process::PrepareProcess;
use crate::local::{cache_commands, layout, requests, sandbox};
use crate::needs::Needs;
use crate::{Epoch, SubmitOptions};

/// A command on the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// Measures them.
    Usage,
    /// Evicts what was used least recently until at most the budget is left, and deletes what nothing refers to.
    Gc {
        /// Bytes that each volume may keep; `None` for the configured budget. 0 evicts everything that is not in use.
        budget_bytes: Option<u64>,
        /// Inodes that each volume may keep; likewise.
        budget_inodes: Option<u64>,
    },
    /// Checks everything in them against its record.
    Verify {
        /// Moves damaged environments aside, so that the next run builds them again.
        repair: bool,
    },
}

impl LocalDriver {
    /// Runs a cache command on the volumes of an epoch.
    ///
    /// # Errors
    /// The runner could not be started or did not answer. What the command could not do is part of its report.
    pub async fn maintain(&self, epoch: &Epoch, what: Maintenance) -> Result<MaintainReport, Failure> {
        let mut budget = BudgetRequest::from_settings(self.config.budget_bytes, self.config.budget_inodes);
        let subcommand = match what {
            Maintenance::Usage => "usage",
            Maintenance::Gc {
                budget_bytes,
                budget_inodes,
            } => {
                budget.bytes = budget_bytes.or(budget.bytes);
                budget.inodes = budget_inodes.or(budget.inodes);
                "gc"
            }
            Maintenance::Verify { .. } => "verify",
        };
        let request = MaintainRequest {
            budgets: Budgets::both(budget),
            repair: matches!(what, Maintenance::Verify { repair: true }),
            ..cache_commands::request(&self.config)
        };
        let volumes = self.folders.volumes(epoch);
        cache_commands::run(&self.config, &self.host, &volumes, subcommand, &request).await
    }

    /// Prepares what a task needs in the standing caches, without running it.
    ///
    /// # Errors
    /// It could not be prepared; the failure says why.
    pub async fn warm(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<CacheReport, Failure> {
        let task = self.config.check(spec)?;
        let other = self.config.for_task(&task)?;
        let config = other.as_ref().unwrap_or(&self.config);
        let needs = Needs::from(&task);
        let request = requests::prepare_request(config, spec, options, needs, Keep::Publish, None);
        let volumes = self.folders.standing();
        layout::ensure(&volumes, &options.tenant, needs)?;
        let command = sandbox::prepare_command(config, &self.host, &volumes, needs, None);
        let mut preparation = PrepareProcess::start(&command, &request).await?;
        preparation.release();
        let mut prepared = None;
        loop {
            match preparation.next().await {
                Some(PrepareEvent::Ready { cache, .. }) => prepared = Some(cache),
                Some(PrepareEvent::Failed { failure, .. }) => return Err(failure),
                Some(PrepareEvent::Phase { .. } | PrepareEvent::Build { .. }) => {}
                Some(PrepareEvent::Published { .. }) | None => break,
            }
        }
        match prepared {
            Some(cache) => Ok(cache),
            None => Err(preparation.explain().await),
        }
    }
}
