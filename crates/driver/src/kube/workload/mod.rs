//! What carries a task's pod: a Job, or an Argo Workflow. The driver creates, watches and deletes both in the same way.

pub mod frame;
pub mod job;
pub mod kind;
pub mod object;
pub mod render;
pub mod state;
pub mod workflow;
