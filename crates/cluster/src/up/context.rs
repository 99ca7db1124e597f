//! A cluster that answers, on its way to what `up` was asked for.

use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_tools::Result;

use crate::api::ClusterApi;
use crate::kind_cluster::KindCluster;
use crate::node::Node;
use crate::options::UpOptions;

/// What all steps of `up` share.
pub struct UpContext<'a> {
    /// Its API server.
    pub api: ClusterApi,
    /// What the driver on it is told.
    pub config: KubeConfig,
    /// What was asked for.
    pub options: &'a UpOptions,
    /// The kind cluster; `None` if it is somebody else's cluster.
    pub kind: Option<&'a KindCluster>,
    /// The image of the service, if the service was asked for.
    pub service: Option<String>,
}

impl UpContext<'_> {
    /// The node of the kind cluster.
    ///
    /// # Errors
    /// It is not there.
    pub fn node(&self) -> Result<Option<Node<'_>>> {
        let Some(cluster) = self.kind else { return Ok(None) };
        let (engine, container) = (&cluster.engine, cluster.node()?);
        Ok(Some(Node { engine, container }))
    }

    /// Opens the driver.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn driver(&self) -> Result<KubeDriver> {
        self.api.driver(self.config.clone()).await
    }
}
