//! Brings this machine's caches to a level before a run.

use std::sync::Arc;

use hybrid_cache_driver::local::{LocalConfig, LocalDriver};
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::Scenario;
use hybrid_cache_model::level::{Level, LevelSeen, PagesSeen};
use hybrid_cache_tools::{Error, ErrorContext, Machine, Result, failed};
use tokio::sync::oneshot;

use super::evict::evict;
use super::target::{LevelsTarget, Produced};
use super::task_files;

/// Seconds that the network of a run with tools of its own is kept: no other run can use it.
const NETWORK_IDLE_S: u64 = 1;

impl LevelsTarget {
    /// Brings the caches of a scenario to a level.
    ///
    /// # Errors
    /// Tools cannot be brought, a run that fills the caches failed, or files cannot be written.
    pub(super) async fn produce(&mut self, at: usize, scenario: &Scenario, level: Level) -> Result<Produced> {
        let mut driver = Arc::clone(&self.driver);
        let mut seen = LevelSeen::default();
        let epoch = match level {
            Level::Nothing => {
                driver = Arc::new(self.bring_tools(&mut seen).await?);
                Epoch::Standing
            }
            Level::Tools => self.fresh_epoch().await?,
            Level::Downloads => {
                let epoch = self.filled_epoch(at, scenario).await?;
                let source = self.config.system.as_ref().map(|system| &system.tools.source);
                let source = source.filter(|_| scenario.asks_system());
                evict(&self.driver, &epoch, source).await?;
                epoch
            }
            Level::Environment => {
                let epoch = self.filled_epoch(at, scenario).await?;
                seen.pages = self.pages(scenario, &epoch, true).await?;
                epoch
            }
            Level::Warm => {
                let epoch = self.filled_epoch(at, scenario).await?;
                self.fill(scenario, at, &epoch).await?;
                seen.pages = self.pages(scenario, &epoch, false).await?;
                epoch
            }
        };
        let [python, system] = self.contents(at, &driver, &epoch);
        Ok(Produced {
            at,
            level,
            epoch,
            driver,
            seen,
            python,
            system,
        })
    }

    async fn fresh_epoch(&mut self) -> Result<Epoch> {
        let epoch = self.driver.fresh_epoch().await?;
        self.temporary.push(epoch.clone());
        Ok(epoch)
    }

    /// The epoch that has the scenario's environment.
    async fn filled_epoch(&mut self, at: usize, scenario: &Scenario) -> Result<Epoch> {
        if let Some(epoch) = self.filled.get(&at) {
            return Ok(epoch.clone());
        }
        let epoch = self.fresh_epoch().await?;
        self.fill(scenario, at, &epoch).await?;
        self.temporary.retain(|one| *one != epoch);
        self.filled.insert(at, epoch.clone());
        Ok(epoch)
    }

    /// Brings tools into a folder of their own, and opens a driver that uses them, with a cache folder beside them: so there is no
    /// network of an earlier task either.
    async fn bring_tools(&mut self, seen: &mut LevelSeen) -> Result<LocalDriver> {
        let epoch = self.fresh_epoch().await?;
        let (source, folder) = (self.tools.clone(), self.driver.folders().volumes(&epoch).python);
        let (sender, receiver) = oneshot::channel();
        self.bringing = Some(tokio::task::spawn_blocking(move || {
            // Nobody receives it if the run was interrupted.
            let _ = sender.send(source.bring(&folder));
        }));
        let brought = receiver.await.map_err(|_| failed!("bringing the tools panicked"))?;
        self.bringing = None;
        let (Machine { config, .. }, tools) = brought.context("bringing the tools")?;
        seen.tools = Some(tools);
        let config = LocalConfig {
            network_idle_s: NETWORK_IDLE_S,
            ..config
        };
        LocalDriver::open(config).context("opening the caches")
    }

    /// The pages of the files of a task, which are dropped before if the page cache is to be cold.
    async fn pages(&self, scenario: &Scenario, epoch: &Epoch, is_cold: bool) -> Result<Vec<PagesSeen>> {
        let (config, shared) = (self.config_of(scenario)?, self.shared());
        let volumes = self.driver.folders().volumes(epoch);
        let counted = tokio::task::spawn_blocking(move || {
            let groups = task_files::find(&config, &volumes, &shared);
            match is_cold {
                true => task_files::cool(&groups, &volumes),
                false => task_files::count(&groups),
            }
        });
        let counted = counted.await.map_err(|error| Error::failed(error.to_string()))?;
        counted.context("looking into the page cache")
    }
}
