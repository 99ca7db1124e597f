//! From nothing to a cluster with its image, its volumes and a first task; a second time, nothing is left to do.

mod add_ons;
mod context;
mod division;
mod report;
mod run;
mod smoke_test;
mod task_steps;

pub use report::UpReport;
pub use run::up;
