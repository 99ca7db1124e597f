//! Runs tasks on a Kubernetes cluster: a Job for each, watched, never polled.

pub mod config;

pub use config::{KubeConfig, Resources};
