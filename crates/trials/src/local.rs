//! This machine as a place for attacks: its driver's configuration, folders of the trial's own, and wheels to install from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hybrid_cache_driver::local::{LocalConfig, LocalDriver, Maintenance, VolumePair};
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::maintain::{GcReport, MaintainReport, VerifyReport};
use serde_json::Value;

use crate::caches::{Caches, changed, within};
use crate::error::TrialError;
use crate::ground::Ground;
use crate::wheel::Wheel;

/// Seconds for which a task's network outlives it.
const NETWORK_IDLE_S: u64 = 3;

/// This machine.
pub struct LocalSite {
    config: LocalConfig,
    driver: Arc<LocalDriver>,
}

/// Caches of a trial's own on this machine, where it can look at every file.
#[derive(Clone)]
pub struct LocalCaches {
    /// For running tasks.
    pub caches: Caches,
    /// The driver, for what only this machine can do.
    pub driver: Arc<LocalDriver>,
    /// What it was told.
    pub config: LocalConfig,
    /// The volumes.
    pub volumes: VolumePair,
    /// A folder for whatever else the trial needs; deleted with the volumes.
    pub folder: PathBuf,
}

/// A driver that installs from a folder of wheels.
pub struct WithWheels {
    /// The driver.
    pub driver: Arc<LocalDriver>,
    /// What it was told.
    pub config: LocalConfig,
}

impl LocalSite {
    /// Opens the driver. Everything that trials make is below `config.root`; what killed ones left there is deleted.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(mut config: LocalConfig) -> Result<LocalSite, TrialError> {
        // No network is kept for tasks that do not come.
        config.network_idle_s = config.network_idle_s.min(NETWORK_IDLE_S);
        let driver = Arc::new(LocalDriver::open(config.clone())?);
        Ok(LocalSite { config, driver })
    }

    /// The driver.
    pub fn driver(&self) -> Arc<dyn Driver> {
        Arc::clone(&self.driver) as Arc<dyn Driver>
    }

    /// What the driver was told.
    pub fn config(&self) -> &LocalConfig {
        &self.config
    }

    /// True where system packages can be made.
    pub fn has_nix(&self) -> bool {
        self.config.system.is_some()
    }

    /// The folder of an epoch, which goes with it.
    fn folder(&self, epoch: &Epoch) -> PathBuf {
        let volumes = self.driver.folders().volumes(epoch);
        volumes.python.parent().map(Path::to_owned).unwrap_or(volumes.python)
    }

    /// A driver whose Python packages are these wheels and no others: uv asks no other machine.
    ///
    /// # Errors
    /// The wheels cannot be written.
    pub fn with_wheels(&self, epoch: &Epoch, wheels: &[Wheel]) -> Result<WithWheels, TrialError> {
        self.with_files(epoch, "wheels", &built(wheels)?)
    }

    fn with_files(&self, epoch: &Epoch, name: &str, files: &[(String, Vec<u8>)]) -> Result<WithWheels, TrialError> {
        let folder = self.folder(epoch).join(name);
        let failed = || TrialError::io(format!("writing packages into {}", folder.display()));
        let nothing = folder.join("nothing");
        std::fs::create_dir_all(&nothing).map_err(failed())?;
        for (name, content) in files {
            std::fs::write(folder.join(name), content).map_err(failed())?;
        }
        let mut config = self.config.clone();
        config.index = format!("trial {}", folder.display());
        let variables = &mut config.python_tools.variables;
        variables.retain(|(name, _)| !name.starts_with("UV_"));
        // An index that has nothing: what is not in the folder is not there.
        variables.push(("UV_DEFAULT_INDEX".to_owned(), format!("file://{}", nothing.display())));
        variables.push(("UV_FIND_LINKS".to_owned(), folder.display().to_string()));
        config.tool_folders.push(folder);
        let driver = Arc::new(LocalDriver::open(config.clone())?);
        Ok(WithWheels { driver, config })
    }
}

fn built(wheels: &[Wheel]) -> Result<Vec<(String, Vec<u8>)>, TrialError> {
    wheels
        .iter()
        .map(|wheel| Ok((wheel.file_name(), wheel.build()?)))
        .collect()
}

impl Ground {
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
    /// The same caches under another driver, which is told something else. Fields are named as JSON names them.
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
    pub fn with_index(&self, ground: &Ground, name: &str, wheels: &[Wheel]) -> Result<LocalCaches, TrialError> {
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
