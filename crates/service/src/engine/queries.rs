//! Answers questions about tasks: one task, a page of them, output, metrics and history.

use hybrid_cache_api::{CacheName, EndName, ListQuery, MAX_LABEL_FILTERS, TaskId, TaskList, TaskView};
use hybrid_cache_model::Phase;
use tokio::sync::watch;

use super::handle::Engine;
use crate::error::ServiceError;
use crate::metrics::{MetricsSnapshot, named};
use crate::output::{Follow, OutputReader, Outputs};
use crate::store::history::{self, HitRate, VolumeUse};
use crate::store::rows::{self, Filter};
use crate::store::tally::{StateCounts, Tally};

/// Tasks of one page by default.
const PAGE: u32 = 50;
/// Most tasks of one page.
const MAX_PAGE: u32 = 200;

impl Engine {
    /// One task, with the ends of its output.
    ///
    /// # Errors
    /// There is no such task, or it cannot be read.
    pub async fn get(&self, id: &TaskId) -> Result<TaskView, ServiceError> {
        let (tenant, wanted) = (self.tenant.clone(), id.clone());
        let read = move |sql: &_| rows::get(sql, &tenant, &wanted);
        let stored = self.inner.store.read(read).await?;
        let stored = stored.ok_or(ServiceError::NotFound)?;
        let output = self.inner.shown_output(id, &stored).await?;
        Ok(self.inner.view(stored, output))
    }

    /// A page of the tasks, the one submitted last first.
    ///
    /// # Errors
    /// A parameter is invalid, or the tasks cannot be read.
    pub async fn list(&self, query: &ListQuery) -> Result<TaskList, ServiceError> {
        let limit = query.limit.unwrap_or(PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(ServiceError::Parameter {
                name: "limit",
                message: format!("{limit} is not between 1 and {MAX_PAGE}"),
            });
        }
        if query.labels.len() > MAX_LABEL_FILTERS {
            return Err(ServiceError::Parameter {
                name: "label",
                message: format!("at most {MAX_LABEL_FILTERS} labels are accepted"),
            });
        }
        let cursors = self.inner.store.cursors().clone();
        let before = query.cursor.as_deref();
        let before = before.map_or(Ok(i64::MAX), |text| cursors.read(&self.tenant, text))?;
        let filter = Filter {
            tenant: self.tenant.clone(),
            states: query.states.clone(),
            end: query.end,
            labels: query.labels.clone(),
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

    /// Reads a task's output, skipping `from` bytes of both streams.
    ///
    /// # Errors
    /// There is no such task, or it cannot be read.
    pub async fn output(&self, id: &TaskId, from: u64, follow: Follow) -> Result<OutputReader, ServiceError> {
        // Register before reading the state: a task that ends in between is reported to the reader, and one that ended
        // before is seen here.
        let mut reader = self.inner.outputs.reader(id, from, follow);
        let (tenant, wanted) = (self.tenant.clone(), id.clone());
        let read = move |sql: &_| rows::state_of(sql, &tenant, &wanted);
        let state = self.inner.store.read(read).await?;
        if state.ok_or(ServiceError::NotFound)?.name().is_final() {
            Outputs::settle(&mut reader);
        }
        Ok(reader)
    }

    /// The number of this tenant's tasks in each state.
    pub(crate) fn counts(&self) -> StateCounts {
        self.inner.store.tally().borrow().for_tenant(&self.tenant)
    }

    /// All counters, over all tenants.
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
            settling: (*inner.active_count.borrow() as u64).saturating_sub(tally.all().under_way()),
            driver: inner.driver.name(),
            driver_up: inner.circuit_breaker.down().is_none(),
            ended: named(EndName::ALL, counts.ended),
            python_cache: named(CacheName::ALL, counts.python_cache),
            system_cache: named(CacheName::ALL, counts.system_cache),
            phases: Phase::ALL.into_iter().zip(counts.phases).collect(),
            total: counts.total,
            submit: counts.submit,
            expired: counts.expired,
            volumes: counts.volumes,
            footprint: inner.footprint(),
            standby: inner.driver.standby(),
        }
    }

    /// Hits and misses of this tenant since `since_us` of the clock, in intervals of `stretch_us`.
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

    /// Notifies of every change of a task, for pages that show what is going on.
    pub fn changes(&self) -> Changes {
        Changes(self.inner.store.tally())
    }
}

/// Waits for changes of any task.
pub struct Changes(watch::Receiver<Tally>);

impl Changes {
    /// Returns once a task has changed since the last call; false once the service has ended.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
