//! The task service: it stores what users submit, runs each task once, and reports on it while it runs.
//!
//! `store` keeps tasks in SQLite behind one writer, and `output` keeps what they print in files. `engine` runs tasks
//! through a [`hybrid_cache_driver::Driver`], and `metrics` counts. Only `http` and `page` know HTTP. `host` is the
//! process around them, without its command line.

pub mod clock;
pub mod config;
pub mod engine;
pub mod error;
pub mod host;
pub mod http;
mod id;
pub mod metrics;
pub mod output;
mod page;
mod private;
mod random;
pub mod state;
pub mod store;

pub use clock::{Clock, SystemClock};
pub use config::{Backoff, Retention, ServiceConfig};
pub use engine::{
    CancelAnswer, Changes, Engine, Novelty, Parts, Readiness, RunAnswer, ShutdownReport, Submitted, Volumes,
};
pub use error::{OpenError, ServiceError};
pub use hybrid_cache_api::{CacheName, EndName, ListQuery, StateName, TaskId, TaskList, TaskSummary, TaskView};
pub use id::new_task_id;
pub use metrics::{Footprint, Histogram, MetricsSnapshot, VolumeGauge};
pub use output::{Follow, OutputChunk, OutputReader};
pub use store::history::{HitRate, VolumeUse};
