//! The HTTP side of the service: the API, probes, metrics, its reference, and the pages for people.
//!
//! `server` accepts connections, `around` lets requests in and makes answers whole, `tasks`, `logs` and `operate` answer
//! them, and `catalogue` lists every way in which that can fail. Every queue has a bound and every wait a deadline; both
//! stand in [`HttpConfig`].

mod body;
mod caller;
pub mod config;
mod durations;
mod follow;
mod guard;
mod logs;
mod memory;
mod middleware;
pub mod openapi;
mod operate;
mod prometheus;
pub(crate) mod query;
mod reference;
mod rejection;
mod response_cache;
pub mod server;
mod session;
pub(crate) mod tasks;
mod tokens;
mod write_timeout;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::middleware::from_fn_with_state;
use hybrid_cache_model::Tenant;
use tokio::sync::{Semaphore, watch};

pub use config::{Access, AccessError, HttpConfig};
pub use server::{Farewell, Server};
pub use session::Sessions;
pub use tokens::{TokenFaults, Tokens};

pub(crate) use caller::Own;
pub(crate) use memory::hold;
pub(crate) use rejection::Rejection;

pub(crate) use body::{Taken, read as read_body};

use crate::engine::Engine;
use crate::page;
use durations::Durations;
use guard::Guard;
use memory::Memory;
use response_cache::Remembered;

/// What every handler works with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    config: HttpConfig,
    guard: Guard,
    durations: Durations,
    memory: Memory,
    followers: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    /// Tells this process's requests from another's.
    prefix: blake3::Hash,
    requests: AtomicU64,
    history: page::History,
    remembered: Remembered,
}

impl App {
    /// Puts a face to an engine.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(engine: Engine, config: HttpConfig) -> std::io::Result<App> {
        let guard = Guard::new(&config)?;
        let inner = Inner {
            prefix: blake3::hash(guard.sessions().cookie(&Tenant::default()).as_bytes()),
            guard,
            memory: Memory::new(config.large_bytes),
            followers: Arc::new(Semaphore::new(config.followers)),
            durations: Durations::default(),
            closing: watch::Sender::new(false),
            requests: AtomicU64::new(0),
            history: page::History::default(),
            remembered: Remembered::new(engine.changes()),
            engine,
            config,
        };
        Ok(App { inner: inner.into() })
    }

    /// The service itself, as the tenant `default` sees it. What a request may see of tasks is its [`Own`].
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// What the operator set.
    pub fn config(&self) -> &HttpConfig {
        &self.inner.config
    }

    /// Says that the service is about to end: what follows output ends.
    pub fn close(&self) {
        self.inner.closing.send_replace(true);
    }

    /// Clients that follow output at the moment.
    pub fn following(&self) -> usize {
        self.inner
            .config
            .followers
            .saturating_sub(self.inner.followers.available_permits())
    }

    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.inner.closing.subscribe()
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.inner.guard
    }

    /// What the pages' charts show.
    pub(crate) fn history(&self) -> &page::History {
        &self.inner.history
    }

    fn remembered(&self) -> &Remembered {
        &self.inner.remembered
    }

    fn durations(&self) -> &Durations {
        &self.inner.durations
    }

    /// What large bodies and answers may hold.
    pub(crate) fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    fn followers(&self) -> &Arc<Semaphore> {
        &self.inner.followers
    }

    fn next_request_id(&self) -> String {
        let number = self.inner.requests.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", &self.inner.prefix.to_hex()[..8])
    }
}

/// Every path of the service.
pub fn router(app: &App) -> Router {
    let (api, _) = openapi::routes().split_for_parts();
    api.merge(page::routes())
        .layer(from_fn_with_state(app.clone(), middleware::around))
        .with_state(app.clone())
}
