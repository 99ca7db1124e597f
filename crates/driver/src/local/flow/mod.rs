//! One task on this machine, from submit to outcome.

mod build;
mod prepared;
mod task_flow;
mod task_run;

pub use task_flow::run;
pub use task_run::TaskRun;
