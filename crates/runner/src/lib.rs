//! Prepares Python environments and system packages, runs user code, owns the on-disk caches.
//!
//! One small program without an async runtime, as it is the first process of every task's sandbox.

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
