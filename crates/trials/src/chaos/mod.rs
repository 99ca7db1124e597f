//! Faults: what is killed, filled up, taken away or set wrong, which promise must still hold, and how to judge the result.
//!
//! A [`Fault`] runs on a [`FaultContext`], which holds one place (this machine or a cluster), a seed and a number of rounds. All
//! random numbers come from the seed ([`dice`]), so the same seed makes the same moves. Packages are wheels built in memory
//! ([`stock`]), so no network is needed. Everything that a fault creates (folders, mounts, processes) is removed when it ends, and
//! the next trial removes what a killed trial left ([`fault_context`]).
//!
//! A fault without findings proves little unless its judge can notice damage: [`FaultContext::with_damage`] makes every fault do
//! the damage that its promise excludes, just before its judge runs.

pub mod control;
mod dice;
pub mod disk;
pub mod fault;
pub mod fault_caches;
pub mod fault_context;
pub mod fault_need;
pub mod judge;
pub mod leftovers;
pub mod list;
pub mod run;
pub mod serve;
pub mod stock;
pub mod victim;

pub use control::{ClusterControl, NodeControl};
pub use dice::Dice;
pub use fault::{Fault, Finding, Pledge};
pub use fault_context::{FaultContext, Settings};
pub use fault_need::FaultNeed;
pub use run::{FaultTrial, PledgeRow, run, table};
pub use serve::{Serve, ServeAt};
