//! The way to the API server: connecting, bounded requests that are retried, and whether it answers.

pub mod cluster;
pub mod connect;
pub mod create_error;
pub mod pulse;
pub mod retry;
pub mod temporary;
