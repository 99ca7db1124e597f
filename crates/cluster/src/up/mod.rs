//! Brings a cluster up with its image, its volumes and a first task; a second run has nothing left to do.

mod add_ons;
mod context;
mod division;
mod report;
mod run;
mod smoke_test;
mod standby;
mod task_steps;

pub use report::{StandbyEnd, UpReport};
pub use run::up;
