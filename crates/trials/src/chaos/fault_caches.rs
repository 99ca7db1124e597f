//! Caches of a fault on this machine, filled from generated packages.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::local::{LocalConfig, LocalDriver, Maintenance};
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::maintain::{GcReport, MaintainReport, UsageReport};
use hybrid_cache_model::{CacheStatus, TaskSpec};

use crate::caches::{Caches, Ran, within};
use crate::chaos::stock::{self, Stock};
use crate::error::TrialError;
use crate::local_caches::LocalCaches;

/// Caches that belong to one fault.
#[derive(Clone)]
pub struct FaultCaches {
    local: LocalCaches,
    stock: Stock,
}

impl Deref for FaultCaches {
    type Target = LocalCaches;

    fn deref(&self) -> &LocalCaches {
        &self.local
    }
}

impl FaultCaches {
    /// Opens the standing caches below `root`; uv contacts no other machine.
    ///
    /// # Errors
    /// The driver cannot be opened.
    pub fn open(
        mut config: LocalConfig,
        root: &Path,
        stock: Stock,
        patience: Duration,
    ) -> Result<FaultCaches, TrialError> {
        root.clone_into(&mut config.root);
        config.index = format!("trial {}", stock.folder().display());
        let variables = &mut config.python_tools.variables;
        variables.retain(|(name, _)| !name.starts_with("UV_"));
        variables.push((
            "UV_DEFAULT_INDEX".to_owned(),
            format!("file://{}", stock.nothing().display()),
        ));
        variables.push(("UV_FIND_LINKS".to_owned(), stock.folder().display().to_string()));
        config.tool_folders.push(stock.folder().to_owned());
        let driver = Arc::new(LocalDriver::open(config.clone())?);
        let local = LocalCaches {
            caches: Caches {
                driver: Arc::clone(&driver) as Arc<dyn Driver>,
                epoch: Epoch::Standing,
                patience,
            },
            volumes: driver.folders().standing(),
            driver,
            config,
            folder: root.to_owned(),
        };
        Ok(FaultCaches { local, stock })
    }

    /// The same caches with a newly opened driver, as another process would open it.
    ///
    /// # Errors
    /// The driver cannot be opened.
    pub fn reopened(&self) -> Result<FaultCaches, TrialError> {
        let mut other = self.clone();
        other.local = self.local.with(&serde_json::json!({}))?;
        Ok(other)
    }

    /// The task that needs one version of the stock.
    ///
    /// # Errors
    /// The version's wheel cannot be written.
    pub fn task(&self, number: u32) -> Result<TaskSpec, TrialError> {
        self.stock.task(number)
    }

    /// Runs that task, which must succeed and print the expected output.
    ///
    /// # Errors
    /// The task fails, or prints something else.
    pub async fn good(&self, number: u32) -> Result<Ran, TrialError> {
        let ran = self.caches.run_well("asks for the stock", &self.task(number)?).await?;
        match ran.stdout.trim() == stock::printed(number) {
            true => Ok(ran),
            false => Err(TrialError::Other(format!("version {number} printed {:?}", ran.stdout))),
        }
    }

    /// Runs that task, and reports an error as a problem of the promise instead of one of the trial.
    pub async fn works(&self, number: u32, when: &str, problems: &mut Vec<String>) -> Option<CacheStatus> {
        match self.good(number).await {
            Ok(ran) => Some(ran.outcome.cache.python),
            Err(error) => {
                problems.push(format!("{when}: {error}"));
                None
            }
        }
    }

    /// Measures what the volumes hold.
    ///
    /// # Errors
    /// The volumes cannot be measured.
    pub async fn usage(&self) -> Result<UsageReport, TrialError> {
        match self.asked(Maintenance::Usage).await? {
            MaintainReport::Usage(report) => Ok(report),
            other => Err(TrialError::Other(format!("`usage` answered {other:?}"))),
        }
    }

    /// Runs `cache gc` with a budget in bytes; `None` removes only what nothing refers to.
    ///
    /// # Errors
    /// The driver does not answer.
    pub async fn gc(&self, budget_bytes: Option<u64>) -> Result<GcReport, TrialError> {
        let what = Maintenance::Gc {
            budget_bytes,
            budget_inodes: None,
        };
        match self.asked(what).await? {
            MaintainReport::Gc(report) => Ok(report),
            other => Err(TrialError::Other(format!("`gc` answered {other:?}"))),
        }
    }

    async fn asked(&self, what: Maintenance) -> Result<MaintainReport, TrialError> {
        let work = self.driver.maintain(&self.caches.epoch, what);
        match within("looking after the caches", self.caches.patience, work).await?? {
            MaintainReport::Failed { failure } => Err(failure.into()),
            report => Ok(report),
        }
    }
}
