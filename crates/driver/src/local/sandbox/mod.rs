//! The bubblewrap sandboxes: what a task sees of this machine, as pure argument lists.
//!
//! There are three sandboxes. The one that runs user code can write nothing but its own scratch folder. The one that runs
//! code of packages to build them is the same without the Python volume, and its runner has one more folder to write. The
//! one that writes the caches never runs code of a user or of a package. None sees the user's home folder.

mod arguments;
mod certificates;
mod command;
mod etc;
mod host;

pub use command::{build_command, build_tools, maintenance_command, prepare_command, task_command};
pub use host::{HostLayout, basic_tools};

#[cfg(test)]
pub(crate) mod tests;
