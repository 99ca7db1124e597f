//! `runner prepare`: makes what a task needs, Python packages and system packages side by side.

mod context;
mod python;
mod run;
pub mod system;

pub use run::{Emit, SystemSide, run, run_until_leased, run_with};
