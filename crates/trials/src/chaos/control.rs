//! Control of a cluster that only the caller has: it knows Kubernetes' client and Docker, this library does not.

use std::sync::Arc;

use async_trait::async_trait;
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::maintain::VerifyReport;

use crate::error::TrialError;

/// Control of a cluster that the driver does not know of.
#[async_trait]
pub trait ClusterControl: Send + Sync {
    /// Another driver on the same cluster, as another process would open it.
    ///
    /// # Errors
    /// The cluster does not answer.
    async fn driver(&self) -> Result<Arc<dyn Driver>, TrialError>;

    /// Deletes the pods of a task; how many there were.
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
    /// Stops every process of the node, the API server among them, until [`NodeControl::resume`].
    ///
    /// # Errors
    /// The container cannot be stopped.
    async fn pause(&self) -> Result<(), TrialError>;

    /// Lets them go on. A node that is not paused stays as it is.
    ///
    /// # Errors
    /// The container is unknown.
    async fn resume(&self) -> Result<(), TrialError>;

    /// Restarts the node and waits until its API server answers again.
    ///
    /// # Errors
    /// It does not come back in time.
    async fn restart(&self) -> Result<(), TrialError>;
}
