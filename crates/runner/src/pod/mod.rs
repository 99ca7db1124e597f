//! The runner inside a pod: `pod-run`, `pod-standby`, `pod-prepare`, `pod-build`, `pod-maintain`, and `pod-seed` during an image build. Requests
//! come from files, results go to the termination message.
//!
//! The image names its tools, and the request says what to do. Together they form the request that the runner elsewhere
//! reads from standard input. A task's text is never in an argument or a variable.

mod build_link;
mod build_worker;
mod epoch;
mod handover;
mod log;
mod maintenance_command;
mod preparation;
mod prepare;
mod requests;
mod seed;
mod set_aside;
mod standby;
mod task;
mod termination;

pub use build_worker::build;
pub use log::trail;
pub use maintenance_command::maintain;
pub use prepare::prepare;
pub use seed::make_seed;
pub use standby::stand_by;
pub use task::run;
pub use termination::{Shorten, leave_message};
