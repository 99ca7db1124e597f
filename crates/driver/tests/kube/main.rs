//! The kube driver end to end: a real cluster, real pods, real packages.
//!
//! It needs a cluster with the image, the claims and a default network for pods. Two variables name it:
//! `HYBRID_CACHE_KUBE_CONTEXT`, a context of the kubeconfig, and `HYBRID_CACHE_KUBE_CONFIG`, a file with the driver's
//! configuration. Without them each test says `skipped: <test>: <why>` and ends.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod bench;
mod builds;
mod ends;
mod many;
mod policies;
mod prepared;
mod pythons;
mod quota;
mod refusals;
mod report;
mod resources;
mod restart;
mod scripts;
mod sets;
mod settings;
mod standby;
mod standby_faults;
mod tasks;
mod trace;
mod warm;

/// Names the file with the driver's configuration.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_KUBE_CONFIG";
