//! The process around the engine, which `cargo xtask serve` and the container's program share.
//!
//! `process` runs it, `settings` holds its flags. It reports through a callback: terminal and exit code belong to the program.

mod error;
mod probe;
mod process;
mod settings;
mod token_file;
mod volumes;

pub use error::{ErrorClass, HostError};
pub use probe::probe;
pub use process::{Ended, Host, REQUESTS, access};
pub use settings::Settings;
pub use volumes::{ClusterVolumes, LocalVolumes};
