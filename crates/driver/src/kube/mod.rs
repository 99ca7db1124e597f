//! Runs tasks on a Kubernetes cluster, each as a Job or an Argo Workflow. The driver watches; it never polls.
//!
//! ```text
//! submit ─ Secret, workload ─► API server       watches (workloads, pods, warnings), shared by all tasks
//!                             │                    │
//!                             ▼                    ▼
//!          pod: task [+ prepare [+ build]]  observe/observed: state of one workload
//!                │ log    │ message                │ observe/{step, explain}: pure
//!                ▼        ▼                        ▼
//!             LogWriter   RunReport ────────►   Outcome
//! ```
//!
//! | folder | what it holds |
//! |---|---|
//! | `api` | connection, requests and retries, and whether the API server answers |
//! | `workload` | what carries a task's pod: a Job or a Workflow, its state, and how it is rendered |
//! | `pod` | the pod, restricted: containers, mounts, and the requests that its containers read |
//! | `observe` | watches, the observed state of a workload, and what it means |
//! | `logs` | a container's log, without what the runner and Argo add to it |
//! | `standby` | pods that are started ahead, and the claim of one |
//! | `flow` | one task from submit to outcome |
//! | `maintenance` | Jobs that look after the volumes |
//!
//! The client's user needs these rights in its namespace: Jobs (create, get, list, watch, delete), pods (list, watch,
//! delete), their logs (get), Secrets (create, get, list, patch, delete) and events (list, watch); for Argo, the same
//! rights on Workflows as on Jobs; for standby pods, ReplicaSets (create, list, patch, delete), pods (patch) and their connections
//! (`pods/attach`: create and get).

mod api;
mod bare_pod;
pub mod config;
mod driver;
mod flow;
pub mod logs;
mod maintenance;
mod names;
mod observe;
mod pod;
mod shared;
mod standby;
mod task_resources;
mod workload;

#[cfg(test)]
mod tests;

pub use api::connect::Reach;
pub use bare_pod::BarePod;
pub use config::{Argo, KubeConfig, Resources, VolumeSet};
pub use driver::KubeDriver;
pub use standby::range::{StandbyRange, StandbyRangeError};
