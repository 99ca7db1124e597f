//! The engine: takes tasks in, moves them through a driver, and answers questions about them.

mod circuit_breaker;
mod dispatch;
mod housekeeping;
mod pump;
mod ready;
mod recover;
mod requests;
mod run_task;
mod shutdown;
mod submit;
mod task_view;

use hybrid_cache_api::{CacheName, EndName, ListQuery, TaskId, TaskList, TaskView};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hybrid_cache_driver::Driver;
use hybrid_cache_model::{Phase, Protection, Tenant};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;

use crate::clock::{Clock, SystemClock};
use crate::config::ServiceConfig;
use crate::error::{OpenError, ServiceError};
use crate::metrics::{Metrics, MetricsSnapshot, VolumeGauge, named};
use crate::output::files::OutputFiles;
use crate::output::live::Live;
use crate::output::{Follow, OutputReader, Outputs};
use crate::store::Store;
use crate::store::history::{self, HitRate, VolumeUse};
use crate::store::rows::{self, Filter};
use crate::store::tally::Counts;
use circuit_breaker::Gate;
use run_task::Wish;

pub use ready::Readiness;
pub use requests::{CancelAnswer, Novelty, RunAnswer, Submitted};
pub use shutdown::ShutdownReport;

/// Tasks of one page where the client does not say.
const PAGE: u32 = 50;
/// Most tasks of one page.
const MAX_PAGE: u32 = 200;

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

/// The task service without a face, as one tenant sees it. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    /// Whose tasks it tells of and takes. A task of another tenant is as one that there is not.
    tenant: Tenant,
}

/// How far the service has come with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Closing {
    /// It is open.
    No,
    /// It takes nothing new.
    Draining,
}

pub(crate) struct Inner {
    config: ServiceConfig,
    driver: Arc<dyn Driver>,
    clock: Arc<dyn Clock>,
    volumes: Option<Arc<dyn Volumes>>,
    store: Store,
    outputs: Outputs,
    metrics: Metrics,
    gate: Gate,
    slots: Arc<Semaphore>,
    catching_up: Arc<Semaphore>,
    /// Wakes whoever deletes, where output has grown much since the last look.
    crowded: Notify,
    /// Bytes of output at which it does.
    crowded_at: AtomicU64,
    /// Whether output lies there that could not be deleted with its task.
    left_output: AtomicBool,
    ready: ready::Ready,
    /// What is wished of the tasks that are under way.
    under_way: Mutex<HashMap<TaskId, watch::Sender<Wish>>>,
    /// How many of them there are, to wait for the last.
    carried: watch::Sender<usize>,
    closing: watch::Sender<Closing>,
    /// The loops that run as long as the service.
    loops: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Opens the store, takes up what an earlier process left, and begins to run what is queued.
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

    /// The same with another clock, and with volumes to tell about.
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
            gate: Gate::new(config.backoff.clone()),
            slots: Arc::new(Semaphore::new(config.concurrency.max(1))),
            catching_up: Arc::new(Semaphore::new(pump::CATCHING_UP)),
            crowded: Notify::new(),
            crowded_at: AtomicU64::new(u64::MAX),
            left_output: AtomicBool::new(false),
            ready: ready::Ready::default(),
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
            carried: watch::Sender::new(0),
            closing: watch::Sender::new(Closing::No),
            loops: Mutex::default(),
        });
        let tenant = Tenant::default();
        let engine = Engine { inner, tenant };
        engine.take_up().await.map_err(|error| OpenError::Database {
            path: engine.inner.store.path().to_owned(),
            message: error.to_string(),
        })?;
        Ok(engine)
    }

    /// The same engine as another tenant sees it. A new engine is that of [`Tenant::default`].
    #[must_use]
    pub fn of(&self, tenant: &Tenant) -> Engine {
        let everyone = Tenant::default();
        let tenant = if Protection::TenantTasks.is_on() {
            tenant
        } else {
            &everyone
        };
        Engine {
            inner: Arc::clone(&self.inner),
            tenant: tenant.clone(),
        }
    }

    /// The tenant whose tasks it tells of.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Counts what is kept, re-attaches, and starts the loops.
    async fn take_up(&self) -> Result<(), ServiceError> {
        let inner = Arc::clone(&self.inner);
        let counted = Arc::clone(&inner);
        let count = move |sql: &_| rows::each_outcome(sql, |outcome| counted.metrics.note_end(&outcome));
        inner.store.read_all(count).await?;
        recover::take_up(&inner).await?;
        let loops = [
            tokio::spawn(dispatch::run(Arc::clone(&inner))),
            tokio::spawn(housekeeping::run(Arc::clone(&inner))),
        ];
        inner.loops.lock().unwrap_or_else(PoisonError::into_inner).extend(loops);
        Ok(())
    }

    /// One task with the beginning of what it printed.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn get(&self, id: &TaskId) -> Result<TaskView, ServiceError> {
        let (tenant, wanted) = (self.tenant.clone(), id.clone());
        let read = move |sql: &_| rows::get(sql, &tenant, &wanted);
        let stored = self.inner.store.read(read).await?;
        let stored = stored.ok_or(ServiceError::NotFound)?;
        let output = self.inner.shown_output(id, &stored).await?;
        Ok(self.inner.view(stored, output))
    }

    /// A part of the tasks, the one submitted last first.
    ///
    /// # Errors
    /// A parameter makes no sense, or they cannot be read.
    pub async fn list(&self, query: &ListQuery) -> Result<TaskList, ServiceError> {
        let limit = query.limit.unwrap_or(PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(ServiceError::Parameter {
                name: "limit",
                message: format!("{limit} is not between 1 and {MAX_PAGE}"),
            });
        }
        let cursors = self.inner.store.cursors().clone();
        let before = query.cursor.as_deref();
        let before = before.map_or(Ok(i64::MAX), |text| cursors.read(&self.tenant, text))?;
        let filter = Filter {
            tenant: self.tenant.clone(),
            states: query.states.clone(),
            end: query.end,
            before,
            limit,
        };
        let read = move |sql: &_| rows::list(sql, &filter, &cursors);
        let mut page = self.inner.store.read(read).await?;
        for summary in &mut page.items {
            self.inner.explain(summary);
        }
        Ok(page)
    }

    /// Reads what a task prints, from `from` bytes of both streams on.
    ///
    /// # Errors
    /// There is no such task, or it cannot be read.
    pub async fn output(&self, id: &TaskId, from: u64, follow: Follow) -> Result<OutputReader, ServiceError> {
        // Entered before the state is read: a task that ends in between is told to end, one that ended before is seen to
        // have.
        let mut reader = self.inner.outputs.reader(id, from, follow);
        let (tenant, wanted) = (self.tenant.clone(), id.clone());
        let read = move |sql: &_| rows::state_of(sql, &tenant, &wanted);
        let state = self.inner.store.read(read).await?;
        if state.ok_or(ServiceError::NotFound)?.name().is_final() {
            Outputs::settle(&mut reader);
        }
        Ok(reader)
    }

    /// How many tasks of this tenant are in which state.
    pub(crate) fn counts(&self) -> Counts {
        self.inner.store.tally().borrow().of(&self.tenant)
    }

    /// Everything that is counted, over all tenants.
    pub fn metrics(&self) -> MetricsSnapshot {
        let inner = &self.inner;
        let (counts, tally) = (inner.metrics.read(), inner.store.tally().borrow().clone());
        MetricsSnapshot {
            tasks: tally.all().by_name().to_vec(),
            queue_depth: tally.all().waiting(),
            queue_limit: inner.config.queue,
            under_way: tally.all().under_way(),
            concurrency: inner.config.concurrency as u64,
            live_outputs: inner.outputs.live.count() as u64,
            settling: (*inner.carried.borrow() as u64).saturating_sub(tally.all().under_way()),
            driver: inner.driver.name(),
            driver_up: inner.gate.down().is_none(),
            ended: named(EndName::ALL, counts.ended),
            python_cache: named(CacheName::ALL, counts.python_cache),
            system_cache: named(CacheName::ALL, counts.system_cache),
            phases: Phase::ALL.into_iter().zip(counts.phases).collect(),
            total: counts.total,
            submit: counts.submit,
            expired: counts.expired,
            volumes: counts.volumes,
            footprint: inner.footprint(),
        }
    }

    /// Hits and misses of this tenant since `since_us` of the clock, in stretches of `stretch_us`.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn hit_rates(&self, since_us: i64, stretch_us: i64) -> Result<Vec<HitRate>, ServiceError> {
        let tenant = self.tenant.clone();
        let read = move |sql: &_| history::hit_rates(sql, &tenant, since_us, stretch_us);
        self.inner.store.read(read).await
    }

    /// What the volumes held since `since_us` of the clock.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn volume_use(&self, since_us: i64) -> Result<Vec<VolumeUse>, ServiceError> {
        self.inner.store.read(move |sql| history::volumes(sql, since_us)).await
    }

    /// The clock's time in microseconds since 1970.
    pub fn now_us(&self) -> i64 {
        self.inner.clock.now_us()
    }

    /// A number that is raised whenever a task changes, for pages that show what is going on.
    pub fn changes(&self) -> Changes {
        Changes(self.inner.store.tally())
    }
}

/// Waits for changes of any task.
pub struct Changes(watch::Receiver<crate::store::tally::Tally>);

impl Changes {
    /// Returns once a task has changed since the last call; false once the service has ended.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Inner {
    fn under_way(&self) -> MutexGuard<'_, HashMap<TaskId, watch::Sender<Wish>>> {
        // The map is whole between its calls, whatever panicked.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
