//! Caches of a trial's own on this machine, where the trial can look at every file.

use std::path::PathBuf;
use std::sync::Arc;

use hybrid_cache_driver::Driver;
use hybrid_cache_driver::local::{LocalConfig, LocalDriver, Maintenance, VolumePair};
use hybrid_cache_model::maintain::{GcReport, MaintainReport, VerifyReport};
use serde_json::Value;

use crate::attack_context::AttackContext;
use crate::caches::{Caches, changed, within};
use crate::error::TrialError;
use crate::local::built;
use crate::wheel::Wheel;

/// Caches of a trial's own on this machine, if it can look at every file.
#[derive(Clone)]
pub struct LocalCaches {
    /// For running tasks.
    pub caches: Caches,
    /// The driver, for what only this machine can do.
    pub driver: Arc<LocalDriver>,
    /// Its configuration.
    pub config: LocalConfig,
    /// The volumes.
    pub volumes: VolumePair,
    /// A folder for whatever else the trial needs; deleted with the volumes.
    pub folder: PathBuf,
}

impl AttackContext {
    /// Empty caches whose Python packages are these wheels.
    ///
    /// # Errors
    /// They cannot be made.
    pub async fn local_caches(&self, wheels: &[Wheel]) -> Result<LocalCaches, TrialError> {
        self.local_caches_with_files(&built(wheels)?).await
    }

    /// The same with files as they are: name and content.
    ///
    /// # Errors
    /// They cannot be made.
    pub async fn local_caches_with_files(&self, files: &[(String, Vec<u8>)]) -> Result<LocalCaches, TrialError> {
        let site = self.machine()?;
        let epoch = self.fresh().await?.epoch;
        let opened = site.with_files(&epoch, "wheels", files)?;
        let volumes = opened.driver.folders().volumes(&epoch);
        Ok(LocalCaches {
            caches: self.caches(Arc::clone(&opened.driver) as Arc<dyn Driver>, epoch.clone()),
            driver: opened.driver,
            config: opened.config,
            volumes,
            folder: site.folder(&epoch),
        })
    }
}

impl LocalCaches {
    /// The same caches under another driver, with another configuration. Fields have their names in JSON.
    ///
    /// # Errors
    /// A change that does not fit.
    pub fn with(&self, changes: &Value) -> Result<LocalCaches, TrialError> {
        let mut other = self.clone();
        other.config = changed(&self.config, changes)?;
        other.driver = Arc::new(LocalDriver::open(other.config.clone())?);
        other.caches.driver = Arc::clone(&other.driver) as Arc<dyn Driver>;
        Ok(other)
    }

    /// The same caches with another folder of wheels.
    ///
    /// # Errors
    /// The wheels cannot be written.
    pub fn with_index(&self, ground: &AttackContext, name: &str, wheels: &[Wheel]) -> Result<LocalCaches, TrialError> {
        let opened = ground
            .machine()?
            .with_files(&self.caches.epoch, name, &built(wheels)?)?;
        let mut other = self.clone();
        other.config = opened.config;
        other.caches.driver = Arc::clone(&opened.driver) as Arc<dyn Driver>;
        other.driver = opened.driver;
        Ok(other)
    }

    async fn maintain(&self, what: Maintenance) -> Result<MaintainReport, TrialError> {
        let work = self.driver.maintain(&self.caches.epoch, what);
        Ok(within("looking after the caches", self.caches.patience, work).await??)
    }

    /// `cache verify`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn verify(&self) -> Result<VerifyReport, TrialError> {
        match self.maintain(Maintenance::Verify { repair: false }).await? {
            MaintainReport::Verify(report) => Ok(report),
            MaintainReport::Failed { failure } => Err(failure.into()),
            other => Err(TrialError::Other(format!("`verify` answered {other:?}"))),
        }
    }

    /// `cache gc` down to one byte: everything that is not in use goes.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn evict(&self) -> Result<GcReport, TrialError> {
        let what = Maintenance::Gc {
            budget_bytes: Some(1),
            budget_inodes: None,
        };
        match self.maintain(what).await? {
            MaintainReport::Gc(report) => Ok(report),
            MaintainReport::Failed { failure } => Err(failure.into()),
            other => Err(TrialError::Other(format!("`gc` answered {other:?}"))),
        }
    }
}
