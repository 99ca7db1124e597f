//! What every handler works with: the engine, the configuration, and what requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hybrid_cache_model::Tenant;
use tokio::sync::{Semaphore, watch};

use super::config::HttpConfig;
use super::durations::Durations;
use super::guard::Guard;
use super::memory::Memory;
use super::response_cache::ResponseCache;
use crate::engine::Engine;
use crate::page::history::History;

/// What every handler works with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    state: Arc<AppState>,
}

struct AppState {
    engine: Engine,
    config: HttpConfig,
    guard: Guard,
    durations: Durations,
    memory: Memory,
    followers: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    /// Distinguishes this process's request ids from another's.
    prefix: blake3::Hash,
    requests: AtomicU64,
    history: History,
    response_cache: ResponseCache,
}

impl App {
    /// Makes the handlers' state for an engine.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(engine: Engine, config: HttpConfig) -> std::io::Result<App> {
        let guard = Guard::new(&config)?;
        let state = AppState {
            prefix: blake3::hash(guard.sessions().cookie(&Tenant::default()).as_bytes()),
            guard,
            memory: Memory::new(config.large_bytes),
            followers: Arc::new(Semaphore::new(config.followers)),
            durations: Durations::default(),
            closing: watch::Sender::new(false),
            requests: AtomicU64::new(0),
            history: History::default(),
            response_cache: ResponseCache::new(engine.changes()),
            engine,
            config,
        };
        Ok(App { state: state.into() })
    }

    /// The engine, as the tenant `default` sees it. A handler that shows tasks uses [`super::Own`].
    pub fn engine(&self) -> &Engine {
        &self.state.engine
    }

    /// What the operator set.
    pub fn config(&self) -> &HttpConfig {
        &self.state.config
    }

    /// Announces the shutdown: connections that follow output end.
    pub fn close(&self) {
        self.state.closing.send_replace(true);
    }

    /// Clients that follow output at the moment.
    pub fn following(&self) -> usize {
        self.state
            .config
            .followers
            .saturating_sub(self.state.followers.available_permits())
    }

    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.state.closing.subscribe()
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.state.guard
    }

    /// The data of the pages' charts.
    pub(crate) fn history(&self) -> &History {
        &self.state.history
    }

    pub(super) fn response_cache(&self) -> &ResponseCache {
        &self.state.response_cache
    }

    pub(super) fn durations(&self) -> &Durations {
        &self.state.durations
    }

    /// The memory for large bodies and responses.
    pub(crate) fn memory(&self) -> &Memory {
        &self.state.memory
    }

    pub(super) fn followers(&self) -> &Arc<Semaphore> {
        &self.state.followers
    }

    pub(super) fn next_request_id(&self) -> String {
        let number = self.state.requests.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", &self.state.prefix.to_hex()[..8])
    }
}

/// Returns once the service shuts down.
pub async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the service is gone.
    let _ = closing.wait_for(|closing| *closing).await;
}
