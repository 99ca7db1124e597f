//! What the cluster shows of a workload, and what it means: watches, the observed state, the next step, explanations.

pub mod explain;
pub mod observed;
pub mod registry;
pub mod step;
pub mod watch;
