//! The data of the charts, kept for a few seconds so that many pages cost as much as one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_model::Tenant;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::store::history::{HitRate, VolumeUse};

/// How far back the charts go.
pub const SPAN_S: i64 = 24 * 3600;
/// The time of one bar.
pub const STRETCH_S: i64 = 3600;
/// How old the data may be.
const FRESH: Duration = Duration::from_secs(10);

/// The data of one moment.
#[derive(Debug, Default)]
pub struct Figures {
    /// The clock's time when they were read, in microseconds.
    pub now_us: i64,
    /// Hits and misses by hour.
    pub hits: Vec<HitRate>,
    /// What the volumes held.
    pub volumes: Vec<VolumeUse>,
}

/// The last data for each tenant that looked; there are no more tenants than tokens.
#[derive(Debug, Default)]
pub struct History {
    last: Mutex<HashMap<Tenant, (Instant, Arc<Figures>)>>,
}

impl History {
    /// The data of the last day. If it cannot be read it is empty, because the page is useful without charts.
    pub async fn read(&self, engine: &Engine) -> Arc<Figures> {
        let mut last = self.last.lock().await;
        if let Some((at, figures)) = last.get(engine.tenant())
            && at.elapsed() < FRESH
        {
            return Arc::clone(figures);
        }
        let now_us = engine.now_us();
        let since_us = now_us - SPAN_S * 1_000_000;
        let figures = Arc::new(Figures {
            now_us,
            hits: engine
                .hit_rates(since_us, STRETCH_S * 1_000_000)
                .await
                .unwrap_or_default(),
            volumes: engine.volume_use(since_us).await.unwrap_or_default(),
        });
        last.insert(engine.tenant().clone(), (Instant::now(), Arc::clone(&figures)));
        figures
    }
}
