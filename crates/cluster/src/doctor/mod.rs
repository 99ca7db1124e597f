//! Finds out what a cluster needs and lacks, judges it, and says how to fix it.

mod checks;
mod examine;
mod facts;
mod finding;
mod gather;
mod host;

pub use examine::examine;
pub use finding::{Finding, Verdict};
