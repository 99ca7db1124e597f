//! Records each request that uses the standing caches, for `cargo xtask size`: what it asked for, whether it hit, and what
//! that cost.
//!
//! ```text
//! task ── note ──► queue ──► writer task ──► <folder>/trace-<n>.jsonl     the format is `hybrid_cache_sizing::trace`
//!                              │ asks the runner what environments are made of, if no line of the file says it
//!                              ▼
//!                            <folder>/trace-<n>.known                     names of the environments that the file defines
//! ```
//!
//! Nothing waits for the trace: a task is noted once its outcome is known, and the writer runs in the background. A line is
//! written whole, under a lock that all writers on this machine share. If something cannot be written, one warning says so,
//! and no task fails. The trace never holds code or output of a task.

mod config;
mod contents_source;
mod files;
mod line;
mod recorder;
mod warnings;
mod writer;

pub use config::{DEFAULT_MAX_BYTES, FOLDER, TraceConfig};
pub use contents_source::ContentsSource;
pub use files::files_in;
pub use line::{Noted, Notes};
pub use recorder::RequestRecorder;
