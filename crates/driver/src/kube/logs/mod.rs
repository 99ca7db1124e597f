//! A container's log: followed live, without what the runner and Argo add to the task's own output.

pub mod argo_lines;
pub(in crate::kube) mod follow;
mod log_filter;
pub(in crate::kube) mod marked_line;
mod notes;
pub(in crate::kube) mod trailer;
