//! What all views of one engine share: the store, the driver, and the active tasks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hybrid_cache_api::TaskId;
use hybrid_cache_driver::Driver;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;

use super::circuit_breaker::CircuitBreaker;
use super::intent::Intent;
use super::ready_state::ReadyState;
use crate::clock::Clock;
use crate::config::ServiceConfig;
use crate::metrics::{Metrics, VolumeGauge};
use crate::output::Outputs;
use crate::store::Store;

/// Measures what the cache volumes hold.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Measures every volume; `Err` says why that was not possible.
    async fn usage(&self) -> Result<Vec<VolumeGauge>, String>;
}

/// What an engine needs beside its configuration.
pub struct Parts {
    /// Where tasks run.
    pub driver: Arc<dyn Driver>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Measures the cache volumes; without it they are not shown.
    pub volumes: Option<Arc<dyn Volumes>>,
}

/// Whether the service is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closing {
    /// It accepts requests.
    No,
    /// It accepts nothing new.
    Draining,
}

/// What all views of one engine share.
pub(crate) struct Inner {
    pub(super) config: ServiceConfig,
    pub(super) driver: Arc<dyn Driver>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) volumes: Option<Arc<dyn Volumes>>,
    pub(super) store: Store,
    pub(super) outputs: Outputs,
    pub(super) metrics: Metrics,
    pub(super) circuit_breaker: CircuitBreaker,
    pub(super) slots: Arc<Semaphore>,
    pub(super) catching_up: Arc<Semaphore>,
    /// Wakes housekeeping when output has grown a lot since its last run.
    pub(super) crowded: Notify,
    /// Bytes of output at which that happens.
    pub(super) crowded_at: AtomicU64,
    /// Whether some output could not be deleted with its task.
    pub(super) left_output: AtomicBool,
    pub(super) ready: ReadyState,
    /// The intent for each active task.
    pub(super) under_way: Mutex<HashMap<TaskId, watch::Sender<Intent>>>,
    /// Number of active tasks, to wait for the last one.
    pub(super) active_count: watch::Sender<usize>,
    pub(super) closing: watch::Sender<Closing>,
    /// The loops that run as long as the service.
    pub(super) loops: Mutex<Vec<JoinHandle<()>>>,
}

impl Inner {
    pub(super) fn under_way(&self) -> MutexGuard<'_, HashMap<TaskId, watch::Sender<Intent>>> {
        // Each call leaves the map consistent, even if another thread panicked.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
