//! Runs tasks on this machine: each task is a runner in a bubblewrap sandbox. Needs no Docker, no cluster and no root.
//!
//! | file or folder | what it holds |
//! |---|---|
//! | `driver` | the driver: its tasks, and what callers ask of them |
//! | `flow` | one task from submit to outcome |
//! | `sandbox` | the command lines of the two sandboxes |
//! | `process` | starting a sandbox, its request, its report, its output |
//! | `network` | the network of user code |
//! | `memory` | control groups that bound the memory of tasks |
//! | `task_resources` | what a task's own resources become |
//! | `folders`, `volumes`, `layout`, `owned_folders` | the cache folder, pairs of volumes, and what tasks mount of them |
//! | `maintenance`, `cache_commands`, `contents`, `last_use`, `set_aside` | looking after the caches |

mod cache_commands;
pub mod config;
mod contents;
mod driver;
mod flow;
pub mod folders;
mod landlock;
mod last_use;
mod layout;
mod maintenance;
mod memory;
mod mounts;
mod network;
mod owned_folders;
mod permissions;
mod process;
mod requests;
pub mod sandbox;
mod set_aside;
mod task_resources;
mod volumes;

pub use config::{LocalConfig, LocalInterpreter, Network, SystemConfig};
pub use driver::LocalDriver;
pub use folders::Folders;
pub use landlock::Landlock;
pub use maintenance::Maintenance;
pub use memory::lacking as memory_limit_lacking;
pub use network::NetworkStatus;
pub use volumes::VolumePair;
