//! Prepares Python environments and system packages, runs user code, owns the on-disk caches.
//!
//! It has no async runtime, because it is the first process of every task's sandbox and must start fast.

pub mod builder;
pub mod child;
pub mod clock;
pub mod ledger;
pub mod maintenance;
#[cfg(feature = "mutations")]
pub mod mutations;
pub mod network;
pub mod pod;
pub mod prepare;
pub mod python;
pub mod run;
pub mod store;
pub mod system;
