//! Control of a cluster, provided by the caller: it knows Kubernetes' client and Docker, this library does not.

use std::sync::Arc;

use async_trait::async_trait;
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::maintain::VerifyReport;

use crate::error::TrialError;

/// Control of a cluster without the driver's knowledge.
#[async_trait]
pub trait ClusterControl: Send + Sync {
    /// Opens another driver on the same cluster, as another process would.
    ///
    /// # Errors
    /// The cluster does not answer.
    async fn driver(&self) -> Result<Arc<dyn Driver>, TrialError>;

    /// Deletes the pods of a task. Returns their number.
    ///
    /// # Errors
    /// The cluster does not answer.
    async fn delete_pods(&self, task: &str) -> Result<usize, TrialError>;

    /// Checks everything in caches, as `cache verify` does.
    ///
    /// # Errors
    /// The cluster does not answer.
    async fn verify(&self, epoch: &Epoch) -> Result<VerifyReport, TrialError>;

    /// The container that is the cluster's only node; `None` unless the caller knows its name.
    fn node(&self) -> Option<&dyn NodeControl>;
}

/// Control of a node that is a container.
#[async_trait]
pub trait NodeControl: Send + Sync {
    /// Stops every process of the node, including the API server, until [`NodeControl::resume`].
    ///
    /// # Errors
    /// The container cannot be stopped.
    async fn pause(&self) -> Result<(), TrialError>;

    /// Resumes the processes. A node that is not paused does not change.
    ///
    /// # Errors
    /// The container is unknown.
    async fn resume(&self) -> Result<(), TrialError>;

    /// Restarts the node and waits until its API server answers again.
    ///
    /// # Errors
    /// The API server does not answer in time.
    async fn restart(&self) -> Result<(), TrialError>;
}
