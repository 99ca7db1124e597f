//! A task service as the target of a bench run, seen as its clients see it: every run is submitted, run, followed and deleted
//! over HTTP.

mod answer;
mod client;
mod events;
pub mod metrics;
mod problem;
mod target;
pub mod task;
#[cfg(test)]
pub mod tests;
mod who;

pub use client::Client;
pub use problem::ClientError;
pub use target::ServiceTarget;
pub use who::who;
