//! The bubblewrap sandboxes: what a task sees of this machine, as pure argument lists.
//!
//! There are two sandboxes. The one that runs user code can write nothing but its own scratch folder; the one that writes
//! the caches never runs user code. Neither sees the user's home folder.

mod arguments;
mod certificates;
mod command;
mod etc;
mod host;

pub use command::{maintenance_command, prepare_command, task_command};
pub use host::{HostLayout, basic_tools};

#[cfg(test)]
pub(crate) mod tests;
