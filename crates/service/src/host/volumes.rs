//! What the caches hold, asked of the driver that tasks run on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_driver::Epoch;
use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::local::{LocalDriver, Maintenance};
use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::pod::{PodMaintainReport, PodQuestion};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::{VolumeGauge, Volumes};

/// How old a figure of a cluster's volumes may be: asking takes a pod.
const ON_CLUSTER_EVERY: Duration = Duration::from_secs(900);

/// The caches of this machine.
pub struct OfMachine(pub Arc<LocalDriver>);

#[async_trait]
impl Volumes for OfMachine {
    async fn usage(&self) -> Result<Vec<VolumeGauge>, String> {
        gauges(self.0.maintain(&Epoch::Standing, Maintenance::Usage).await)
    }
}

/// The volumes of a cluster, and what was last seen of them.
pub struct OfCluster {
    driver: Arc<KubeDriver>,
    seen: Mutex<Option<(Instant, Vec<VolumeGauge>)>>,
}

impl OfCluster {
    /// Those of a driver.
    pub fn new(driver: Arc<KubeDriver>) -> OfCluster {
        let seen = Mutex::default();
        OfCluster { driver, seen }
    }
}

#[async_trait]
impl Volumes for OfCluster {
    async fn usage(&self) -> Result<Vec<VolumeGauge>, String> {
        let mut seen = self.seen.lock().await;
        if let Some((at, gauges)) = seen.as_ref()
            && at.elapsed() < ON_CLUSTER_EVERY
        {
            return Ok(gauges.clone());
        }
        let report = self.driver.maintain(&Epoch::Standing, PodQuestion::Usage).await;
        let report = report.map(|report| match report {
            PodMaintainReport::Maintained { report } => report,
            PodMaintainReport::Failed { failure } => MaintainReport::Failed { failure },
            PodMaintainReport::Done | PodMaintainReport::SetAside { .. } => MaintainReport::Usage(Default::default()),
        });
        let gauges = gauges(report)?;
        *seen = Some((Instant::now(), gauges.clone()));
        Ok(gauges)
    }
}

fn gauges(report: Result<MaintainReport, Failure>) -> Result<Vec<VolumeGauge>, String> {
    match report.map_err(|failure| failure.to_string())? {
        MaintainReport::Usage(usage) => Ok(["python", "system"]
            .map(|volume| VolumeGauge {
                volume: volume.to_owned(),
                bytes: usage.volume_bytes(volume),
                inodes: usage.volume_inodes(volume),
            })
            .into()),
        MaintainReport::Failed { failure } => Err(failure.to_string()),
        MaintainReport::Gc(_) | MaintainReport::Verify(_) => Err("another question was answered".to_owned()),
    }
}
