//! The faults that `chaos` injects into a cluster without the driver's knowledge, by the same means as `up` and `down`.

use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_image::docker::Engine;
use hybrid_cache_model::maintain::{MaintainReport, VerifyReport};
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_trials::TrialError;
use hybrid_cache_trials::chaos::{ClusterControl, NodeControl};

use crate::connection::ClusterConnection;
use crate::resource_kinds;

/// Longest time from the restart of a node until its API server answers.
const RESTART_TIMEOUT: Duration = Duration::from_secs(300);
/// Pause between two requests to an API server that does not answer yet.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A cluster into which faults are injected.
pub struct FaultyCluster {
    connection: Arc<ClusterConnection>,
    node: Option<Node>,
}

/// The container of the cluster's node.
struct Node {
    container: String,
    connection: Arc<ClusterConnection>,
}

fn trial_error(error: impl std::fmt::Display) -> TrialError {
    TrialError::Other(format!("{error:#}"))
}

impl FaultyCluster {
    /// Takes a cluster, and its node's container, which may be paused and restarted, if there is one.
    pub fn new(connection: ClusterConnection, container: Option<String>) -> FaultyCluster {
        let connection = Arc::new(connection);
        let node = container.map(|container| Node {
            container,
            connection: Arc::clone(&connection),
        });
        FaultyCluster { connection, node }
    }
}

#[async_trait::async_trait]
impl ClusterControl for FaultyCluster {
    async fn driver(&self) -> Result<Arc<dyn Driver>, TrialError> {
        Ok(Arc::new(self.connection.driver().await.map_err(trial_error)?))
    }

    async fn delete_pods(&self, task: &str) -> Result<usize, TrialError> {
        let (api, namespace) = (&self.connection.api, &self.connection.config.namespace);
        let label = format!("app.kubernetes.io/managed-by=hybrid-cache,hybrid-cache.dev/task={task}");
        let pods = api.pods(namespace, &label).await.map_err(trial_error)?.len();
        let deleted = api.delete_labelled(resource_kinds::POD, namespace, &label).await;
        deleted.map(|()| pods).map_err(trial_error)
    }

    async fn verify(&self, epoch: &Epoch) -> Result<VerifyReport, TrialError> {
        let driver = self.connection.driver().await.map_err(trial_error)?;
        match driver
            .maintain(epoch, PodMaintenanceCommand::Verify { repair: false })
            .await?
        {
            PodMaintainReport::Maintained {
                report: MaintainReport::Verify(report),
            } => Ok(report),
            other => Err(trial_error(format!("`verify` answered {other:?}"))),
        }
    }

    fn node(&self) -> Option<&dyn NodeControl> {
        self.node.as_ref().map(|node| node as &dyn NodeControl)
    }
}

#[async_trait::async_trait]
impl NodeControl for Node {
    async fn pause(&self) -> Result<(), TrialError> {
        let engine = Engine::connect().await.map_err(trial_error)?;
        engine.pause(&self.container, true).await.map_err(trial_error)
    }

    async fn resume(&self) -> Result<(), TrialError> {
        let engine = Engine::connect().await.map_err(trial_error)?;
        engine.pause(&self.container, false).await.map_err(trial_error)
    }

    async fn restart(&self) -> Result<(), TrialError> {
        let engine = Engine::connect().await.map_err(trial_error)?;
        engine.restart(&self.container).await.map_err(trial_error)?;
        let answers = async {
            while self.connection.api.version().await.is_err() {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        let late = |_| trial_error("the API server does not answer after its node was restarted");
        tokio::time::timeout(RESTART_TIMEOUT, answers).await.map_err(late)
    }
}
