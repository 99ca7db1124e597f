//! The runner inside a pod: `pod-run`, `pod-prepare`, `pod-maintain`, and `pod-seed` while an image is built. Requests come from files, results go to the
//! termination message.
//!
//! The image says which tools it brings, the request says what to do; both together are the request that the same
//! runner takes on standard input elsewhere. Nothing of a task's text is ever in an argument or a variable.

mod epoch;
mod handover;
mod log;
mod maintenance_command;
mod prepare;
mod requests;
mod seed;
mod set_aside;
mod task;
mod termination;

pub use log::trail;
pub use maintenance_command::maintain;
pub use prepare::prepare;
pub use seed::make_seed;
pub use task::run;
pub use termination::{Shorten, leave_message};
