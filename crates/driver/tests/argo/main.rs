//! The kube driver end to end with a Workflow of Argo for each task: the tests that Jobs have to pass as well, and those of
//! what Argo adds.
//!
//! It needs what they need, Argo Workflows in the namespace, and `HYBRID_CACHE_ARGO_CONFIG` in place of
//! `HYBRID_CACHE_KUBE_CONFIG`, with a configuration that names Argo's executor. Left out are the bound on the latency, which
//! is one of Jobs, the report in the log, which no Workflow has, and the quota of another namespace, where Argo's controller
//! does not look.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "../kube/bench.rs"]
mod bench;
#[path = "../kube/builds.rs"]
mod builds;
#[path = "../kube/ends.rs"]
mod ends;
#[path = "../kube/many.rs"]
mod many;
mod own;
#[path = "../kube/refusals.rs"]
mod refusals;
#[path = "../kube/resources.rs"]
mod resources;
#[path = "../kube/restart.rs"]
mod restart;
#[path = "../kube/tasks.rs"]
mod tasks;

/// Names the file with the driver's configuration.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_ARGO_CONFIG";
