//! What all views of one engine share: the store, the driver, and what runs at the moment.

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

/// Tells what the cache volumes hold. Whoever starts the service knows how to ask.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Looks at every volume; `Err` says why that was not possible.
    async fn usage(&self) -> Result<Vec<VolumeGauge>, String>;
}

/// What an engine works with beside its configuration.
pub struct Parts {
    /// Where tasks run.
    pub driver: Arc<dyn Driver>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// What the cache volumes hold; not told where absent.
    pub volumes: Option<Arc<dyn Volumes>>,
}

/// How far the service has come with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closing {
    /// It is open.
    No,
    /// It takes nothing new.
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
    /// Wakes whoever deletes, where output has grown much since the last look.
    pub(super) crowded: Notify,
    /// Bytes of output at which it does.
    pub(super) crowded_at: AtomicU64,
    /// Whether output lies there that could not be deleted with its task.
    pub(super) left_output: AtomicBool,
    pub(super) ready: ReadyState,
    /// What is wished of the tasks that are under way.
    pub(super) under_way: Mutex<HashMap<TaskId, watch::Sender<Intent>>>,
    /// How many of them there are, to wait for the last.
    pub(super) active_count: watch::Sender<usize>,
    pub(super) closing: watch::Sender<Closing>,
    /// The loops that run as long as the service.
    pub(super) loops: Mutex<Vec<JoinHandle<()>>>,
}

impl Inner {
    pub(super) fn under_way(&self) -> MutexGuard<'_, HashMap<TaskId, watch::Sender<Intent>>> {
        // The map is whole between its calls, whatever panicked.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
