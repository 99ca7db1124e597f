//! Takes measurements: first against cached runs of the scenarios ([`measure()`]), load through the task service ([`load`]), and
//! the required sizes of the volumes ([`size()`]), on real file systems ([`ProofOptions`]) and on many nodes ([`FleetOptions`]).
//!
//! Every sample is on disk before the next one begins. The crate returns records; the command line renders them and shows them to
//! a person. Progress goes to a [`hybrid_cache_tools::Progress`].

mod alternatives;
mod builds;
mod builds_target;
mod cluster_facts;
mod driver_target;
mod fleet;
mod folder;
mod host;
mod levels;
pub mod load;
mod machine;
mod measure;
mod mirror;
mod options;
mod peer;
mod peer_driver;
mod plan;
mod progress;
mod proof;
mod provenance;
mod scenarios;
mod session;
mod sizing;
mod target;
mod via;

pub use builds::{OtherBuild, TwoBuilds};
pub use fleet::FleetOptions;
pub use measure::{Measured, measure};
pub use options::{BenchGate, BenchOptions, MeasuredService, MirrorChoice, PeerChoice, Until};
pub use plan::{Counts, LevelCounts};
pub use proof::{ProofOptions, ProofPlace, can_prove};
pub use scenarios::load_scenarios;
pub use sizing::{SizingOptions, TraceOrigin, size, write_sizing};
