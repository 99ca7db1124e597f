//! Turns samples into reports: statistics, verdicts, terminal, Markdown, HTML and HdrHistogram logs.
//!
//! Only samples are stored. Every figure is computed from a [`RunRecord`] when it is rendered, so that a better statistic
//! also improves old reports. Nothing here touches a terminal, the environment or a clock; only
//! [`folder`] and [`history`] touch files.
//!
//! [`RunRecord`]: hybrid_cache_model::sample::RunRecord

pub mod alternatives;
pub mod caches;
mod cells;
pub mod claim;
pub mod compare;
pub mod digest;
mod duration_histogram;
mod facts;
pub mod figure;
pub mod folder;
mod gate;
mod hdr;
mod headline;
pub mod history;
mod host_noise;
mod html;
mod junit;
pub mod kubelet;
pub mod levels;
pub mod load;
mod markdown;
mod mirror;
mod open_metrics;
pub mod phases;
mod provenance;
mod samples;
pub mod sizing;
pub mod stats;
pub mod summary;
mod terminal;
mod trace_events;
pub mod units;
pub mod until;
pub mod warning;

pub use compare::{Comparison, compare};
pub use digest::{comparison_digest, run_digest};
pub use duration_histogram::DurationHistogram;
pub use facts::{ComparisonFacts, RunFacts};
pub use figure::{Attainment, Figure, FigureKind};
pub use folder::{
    FolderError, SampleLog, check_writable, load, write_all, write_header, write_judged, write_run, write_trace,
};
pub use gate::{Answer, Baseline, Failure, Gate, GateOutcome, Judged, gate_run, gate_runs};
pub use hdr::{hdr_log, hdr_logs};
pub use html::html;
pub use load::LoadSummary;
pub use markdown::markdown;
pub use samples::{failed_samples, taken_samples};
pub use summary::Summary;
pub use terminal::{Color, terminal};
pub use trace_events::trace_events;
