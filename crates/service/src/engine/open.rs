//! Opens an engine: the store, the tasks that an earlier process left, and the loops that run them.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use hybrid_cache_driver::Driver;
use hybrid_cache_model::Tenant;
use tokio::sync::{Notify, Semaphore, watch};

use super::circuit_breaker::CircuitBreaker;
use super::handle::Engine;
use super::inner::{Closing, Inner, Parts};
use super::ready_state::ReadyState;
use super::{dispatch, housekeeping, pump, recover};
use crate::clock::SystemClock;
use crate::config::ServiceConfig;
use crate::error::{OpenError, ServiceError};
use crate::metrics::Metrics;
use crate::output::Outputs;
use crate::output::files::OutputFiles;
use crate::output::live::Live;
use crate::store::{Store, rows};

impl Engine {
    /// Opens the store, adopts the tasks that an earlier process left, and starts to run the queue.
    ///
    /// # Errors
    /// The store cannot be opened; see [`OpenError`].
    pub async fn open(config: ServiceConfig, driver: Arc<dyn Driver>) -> Result<Engine, OpenError> {
        let parts = Parts {
            driver,
            clock: Arc::new(SystemClock),
            volumes: None,
        };
        Engine::open_with(config, parts).await
    }

    /// The same with another clock, and with volumes to measure.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub async fn open_with(config: ServiceConfig, parts: Parts) -> Result<Engine, OpenError> {
        let opened = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || {
                let store = Store::open(&config)?;
                let files = OutputFiles::open(&config.folder).map_err(|source| OpenError::Folder {
                    path: config.folder.clone(),
                    source,
                })?;
                Ok((store, files))
            })
        };
        let (store, files) = opened.await.unwrap_or_else(|panic| {
            Err(OpenError::Database {
                path: config.folder.clone(),
                message: panic.to_string(),
            })
        })?;
        let inner = Arc::new(Inner {
            circuit_breaker: CircuitBreaker::new(config.backoff.clone()),
            slots: Arc::new(Semaphore::new(config.concurrency.max(1))),
            catching_up: Arc::new(Semaphore::new(pump::CATCHING_UP)),
            crowded: Notify::new(),
            crowded_at: AtomicU64::new(u64::MAX),
            left_output: AtomicBool::new(false),
            ready: ReadyState::default(),
            outputs: Outputs {
                files,
                live: Live::default(),
            },
            config,
            driver: parts.driver,
            clock: parts.clock,
            volumes: parts.volumes,
            store,
            metrics: Metrics::default(),
            under_way: Mutex::default(),
            active_count: watch::Sender::new(0),
            closing: watch::Sender::new(Closing::No),
            loops: Mutex::default(),
        });
        let tenant = Tenant::default();
        let engine = Engine { inner, tenant };
        engine.start().await.map_err(|error| OpenError::Database {
            path: engine.inner.store.path().to_owned(),
            message: error.to_string(),
        })?;
        Ok(engine)
    }

    /// Counts the stored tasks, adopts those that an earlier process left, and starts the loops.
    async fn start(&self) -> Result<(), ServiceError> {
        let inner = Arc::clone(&self.inner);
        let counted = Arc::clone(&inner);
        let count = move |sql: &_| rows::each_outcome(sql, |outcome| counted.metrics.note_end(&outcome));
        inner.store.read_all(count).await?;
        recover::adopt_tasks(&inner).await?;
        let loops = [
            tokio::spawn(dispatch::run(Arc::clone(&inner))),
            tokio::spawn(housekeeping::run(Arc::clone(&inner))),
        ];
        inner.loops.lock().unwrap_or_else(PoisonError::into_inner).extend(loops);
        Ok(())
    }
}
