//! The context of `up`: what its steps share once the cluster answers.

use hybrid_cache_driver::kube::{KubeConfig, KubeDriver, StandbyRange};
use hybrid_cache_tools::Result;

use crate::api::ClusterApi;
use crate::kind_cluster::KindCluster;
use crate::nodes::Nodes;
use crate::options::UpOptions;

/// What all steps of `up` share.
pub struct UpContext<'a> {
    /// Client of the API server.
    pub api: ClusterApi,
    /// Settings of the driver for the steps of `up` itself: it has no standby pods.
    pub config: KubeConfig,
    /// The standby pods of the drivers that come later.
    pub standby: Option<StandbyRange>,
    /// Options of `up`.
    pub options: &'a UpOptions,
    /// The kind cluster; `None` if the cluster is not a kind cluster of ours.
    pub kind: Option<&'a KindCluster>,
    /// The image of the service, if the service was requested.
    pub service: Option<String>,
}

impl UpContext<'_> {
    /// The nodes of the kind cluster that run tasks.
    pub fn nodes(&self) -> Option<Nodes<'_>> {
        self.kind.map(KindCluster::task_nodes)
    }

    /// Settings of a driver that runs tasks as Jobs from now on.
    pub fn later_config(&self) -> KubeConfig {
        KubeConfig {
            standby: self.standby,
            ..self.config.clone()
        }
    }

    /// Opens the driver.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn driver(&self) -> Result<KubeDriver> {
        self.api.driver(self.config.clone()).await
    }
}
