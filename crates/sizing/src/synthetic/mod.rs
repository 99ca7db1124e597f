//! Generates synthetic traces: programs with a drifting Zipf popularity, a rate of new programs, tenants, day and night.
//!
//! A *program* is what a tenant runs repeatedly: one request text with the environment that it resolves to. Each program has a
//! rank, and a request picks one by its rank. Ranks drift, new programs arrive, the least popular retire, and some requests come
//! in bursts from programs that are never used again. A program that is older than the maximum age is resolved again, and gets
//! another environment if one of its packages has a new version by then. The same seed gives the same trace on every machine.

mod draw;
mod packages;
mod profile;

pub use draw::generate;
pub use packages::Packages;
pub use profile::{PRESETS, Profile, preset};
