//! Brings what hybrid-cache needs on a machine, pinned and verified: uv, bubblewrap, pasta and Nix, our own programs, and the Debian
//! pins of debnix. [`Machine`] is the result: a configuration of the local driver.
//!
//! The crate also has what all crates that `xtask` drives share: [`Checkout`], [`Error`] and [`Progress`]. It knows neither a command
//! line nor a terminal.

pub mod apt;
mod bubblewrap;
pub mod certificates;
mod checkout;
mod deb;
pub mod debnix;
mod download;
pub mod environment;
mod error;
pub mod facts;
mod index;
mod machine;
mod machine_facts;
mod network;
mod nix;
mod pasta;
pub mod pex;
pub mod pins;
pub mod process;
pub mod programs;
mod progress;
mod provision;
mod python;
mod random;
pub mod requirements_file;
mod saved_source;
mod settings;
mod sources;
mod task_network;
pub mod test_watch;
#[cfg(test)]
mod tests;
mod tool;
mod tool_dir;
mod tool_error;
mod uv;
pub mod uv_python;

pub use checkout::Checkout;
pub use error::{Error, ErrorClass, ErrorContext, Result};
pub use index::IndexSettings;
pub use machine::{Machine, MachineOptions, cache_root, default_root};
pub use network::network_settings;
pub use progress::{Progress, Silent, Steps};
pub use provision::{network, provision};
pub use python::{PythonInterpreter, installed as installed_pythons};
pub use random::random_token;
pub use settings::{OperatorSettings, VARIABLE as SETTINGS_VARIABLE};
pub use task_network::{TaskNetwork, leads_to_loopback};
pub use tool::{NixProvider, NixTool, Origin, PackageSource, ProviderChoice, SourceChoice, Tool, ToolChoice, Tools};
pub use tool_error::ToolError;
