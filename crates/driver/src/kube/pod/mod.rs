//! The pod of a task: its containers with their restrictions, what they mount, and the requests that they read.

pub mod affinity;
pub mod containers;
pub mod placement;
pub mod request;
pub mod variant;
pub mod volumes;
