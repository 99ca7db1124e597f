//! Volume sets: pairs of claims, each with its own budget, and usually on a node of its own.
//!
//! A task uses one set. `hybrid_cache_sizing::placement` chooses it from what the task asks of the caches (`key`), so that an
//! environment is on one set, or on two under load. The task stays there: its retries, its preparation, its standby pod. Kubernetes
//! places the pod, by the node affinity of the set's volumes or by the affinity of its pods to each other (`pod::affinity`).
//!
//! ```text
//! up ── a pod finds no node because of the set's volumes, or its node is lost ──► down: tasks avoid it
//!  ▲                                                                               │ after 30 s
//!  └──────── a pod of it gets a node ◄── one task tries it, then one every 30 s ◄──┘
//! ```
//!
//! Tasks that have no node yet on a set that goes down are submitted again on another one (`lost`, `withdraw`).

pub mod key;
pub mod lost;
pub mod state;
pub mod withdraw;
