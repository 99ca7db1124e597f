//! Computes the size of the volumes from a trace of requests.
//!
//! An environment is a set of parts (unpacked wheels, bytecode folders, store paths), and parts that several environments share
//! are stored once. The cache evicts whole environments, least recently used first, so what is resident under a budget is the
//! longest prefix of the recency list whose union of parts fits. A request hits at a budget exactly if the union of everything
//! used since its environment was last used, including the environment itself, fits into that budget. [`stack`] computes this
//! distance for each request, and [`curve`] turns the distances into the hit rate of every size.
//!
//! All code in this crate is pure computation. A [`trace::Source`] provides the requests as often as a computation needs them, so
//! the memory in use depends on the number of distinct parts and environments, not on the number of requests.

pub mod claim;
pub mod curve;
pub mod delayed;
pub mod detail;
pub mod fleet;
mod groups;
pub mod latency;
mod number;
pub mod pace;
pub mod placement;
pub mod proof;
pub mod recommend;
pub mod simulate;
pub mod stack;
mod stats;
pub mod summary;
pub mod synthetic;
pub mod trace;
mod tree;
mod weight;

pub use recommend::{Recommendation, Targets, recommend};
pub use trace::{Catalog, Event, Source, Volume};
pub use weight::Weight;
