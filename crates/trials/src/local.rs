//! This machine as a place for attacks: its driver's configuration, folders of the trial's own, and wheels to install from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hybrid_cache_driver::local::{LocalConfig, LocalDriver};
use hybrid_cache_driver::{Driver, Epoch};

use crate::error::TrialError;
use crate::wheel::Wheel;

/// Seconds for which a task's network outlives it.
const NETWORK_IDLE_S: u64 = 3;

/// This machine.
pub struct LocalSite {
    config: LocalConfig,
    driver: Arc<LocalDriver>,
}

/// A driver that installs from a folder of wheels.
pub struct WithWheels {
    /// The driver.
    pub driver: Arc<LocalDriver>,
    /// Its configuration.
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

    /// The driver's configuration.
    pub fn config(&self) -> &LocalConfig {
        &self.config
    }

    /// True if system packages can be made.
    pub fn has_nix(&self) -> bool {
        self.config.system.is_some()
    }

    /// The folder of an epoch, which goes with it.
    pub(crate) fn folder(&self, epoch: &Epoch) -> PathBuf {
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

    /// A driver whose Python packages are these files (name and content) and no others, in a folder `name` of the epoch.
    ///
    /// # Errors
    /// The files cannot be written.
    pub(crate) fn with_files(
        &self,
        epoch: &Epoch,
        name: &str,
        files: &[(String, Vec<u8>)],
    ) -> Result<WithWheels, TrialError> {
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

/// The file name and content of each wheel.
///
/// # Errors
/// A wheel cannot be built.
pub(crate) fn built(wheels: &[Wheel]) -> Result<Vec<(String, Vec<u8>)>, TrialError> {
    wheels
        .iter()
        .map(|wheel| Ok((wheel.file_name(), wheel.build()?)))
        .collect()
}
