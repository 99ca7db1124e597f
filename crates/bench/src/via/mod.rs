//! A task service as the target of a bench run, seen as its clients see it: every run is submitted, run, followed and deleted
//! over HTTP, with the client of `hybrid-cache-api`.

mod connect;
mod failure;
pub mod metrics;
mod target;
pub mod task;
#[cfg(test)]
pub mod tests;
pub mod times;
mod who;

pub use connect::client;
pub use failure::{TaskError, client_error};
pub use target::ServiceTarget;
pub use who::who;
