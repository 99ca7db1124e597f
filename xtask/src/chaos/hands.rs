//! What faults do to a cluster behind the driver's back, done by what `up` and `down` use as well.

use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::maintain::{MaintainReport, VerifyReport};
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_trials::TrialError;
use hybrid_cache_trials::chaos::{ClusterControl, NodeControl};

use crate::cluster::kinds;
use crate::cluster::place::ClusterPlace;
use crate::docker::Engine;

/// How long a node may take until its API server answers again.
const RESTART: Duration = Duration::from_secs(300);
/// Between two questions to an API server that does not answer yet.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A cluster.
pub struct OfCluster {
    place: Arc<ClusterPlace>,
    node: Option<Node>,
}

/// The container that is its node.
struct Node {
    container: String,
    place: Arc<ClusterPlace>,
}

fn failed(error: impl std::fmt::Display) -> TrialError {
    TrialError::Other(format!("{error:#}"))
}

impl OfCluster {
    /// A cluster, and the container that may be paused and restarted, if the command line names one.
    pub fn new(place: ClusterPlace, container: Option<String>) -> OfCluster {
        let place = Arc::new(place);
        let node = container.map(|container| Node {
            container,
            place: Arc::clone(&place),
        });
        OfCluster { place, node }
    }
}

#[async_trait::async_trait]
impl ClusterControl for OfCluster {
    async fn driver(&self) -> Result<Arc<dyn Driver>, TrialError> {
        Ok(Arc::new(self.place.driver().await.map_err(failed)?))
    }

    async fn delete_pods(&self, task: &str) -> Result<usize, TrialError> {
        let (api, namespace) = (&self.place.api, &self.place.config.namespace);
        let label = format!("app.kubernetes.io/managed-by=hybrid-cache,hybrid-cache.dev/task={task}");
        let pods = api.pods(namespace, &label).await.map_err(failed)?.len();
        let deleted = api.delete_labelled(kinds::POD, namespace, &label).await;
        deleted.map(|()| pods).map_err(failed)
    }

    async fn verify(&self, epoch: &Epoch) -> Result<VerifyReport, TrialError> {
        let driver = self.place.driver().await.map_err(failed)?;
        match driver
            .maintain(epoch, PodMaintenanceCommand::Verify { repair: false })
            .await?
        {
            PodMaintainReport::Maintained {
                report: MaintainReport::Verify(report),
            } => Ok(report),
            other => Err(failed(format!("`verify` answered {other:?}"))),
        }
    }

    fn node(&self) -> Option<&dyn NodeControl> {
        self.node.as_ref().map(|node| node as &dyn NodeControl)
    }
}

#[async_trait::async_trait]
impl NodeControl for Node {
    async fn pause(&self) -> Result<(), TrialError> {
        let engine = Engine::connect().await.map_err(failed)?;
        engine.pause(&self.container, true).await.map_err(failed)
    }

    async fn resume(&self) -> Result<(), TrialError> {
        let engine = Engine::connect().await.map_err(failed)?;
        engine.pause(&self.container, false).await.map_err(failed)
    }

    async fn restart(&self) -> Result<(), TrialError> {
        let engine = Engine::connect().await.map_err(failed)?;
        engine.restart(&self.container).await.map_err(failed)?;
        let answers = async {
            while self.place.api.version().await.is_err() {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        let late = |_| failed("the API server does not answer after its node was restarted");
        tokio::time::timeout(RESTART, answers).await.map_err(late)
    }
}
