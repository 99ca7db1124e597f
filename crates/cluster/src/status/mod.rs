//! Reads the state of a cluster: its nodes, its volumes and their contents, and what its tasks found in the caches.

mod deployed;
mod observe;
mod report;
mod rows;
mod usage;

pub use deployed::{ArgoStatus, ServiceStatus};
pub use observe::observe;
pub use report::{CachesStatus, ClusterState, ClusterStatus, HitRate, Hits, ImageStatus, Status, Tasks, VolumeStatus};
pub use usage::{measure, measure_sets};
