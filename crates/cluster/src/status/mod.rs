//! How a cluster is: its nodes, its volumes and what they hold, and what its tasks found in the caches.

mod deployed;
mod observe;
mod report;
mod usage;

pub use deployed::{ArgoStatus, ServiceStatus};
pub use observe::observe;
pub use report::{CachesStatus, ClusterState, ClusterStatus, HitRate, Hits, ImageStatus, Status, Tasks, VolumeStatus};
pub use usage::measure;
