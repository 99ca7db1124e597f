//! `runner prepare`: prepares a task's environments. `run` drives both sides in parallel; `python` and `system` do one
//! side each.

mod builds;
mod context;
mod fetch;
mod python;
mod run;
pub mod system;

pub use context::Builder;
pub use run::{Emit, SystemSide, run, run_building, run_until_leased, run_with};
