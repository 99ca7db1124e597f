//! Measures the cache volumes through the driver.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_driver::Epoch;
use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::local::{LocalDriver, Maintenance};
use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::engine::Volumes;
use crate::metrics::VolumeGauge;

/// How old a measurement of a cluster's volumes may be: measuring takes a pod.
const ON_CLUSTER_EVERY: Duration = Duration::from_secs(900);
/// Pause after a cluster could not be measured.
const ON_CLUSTER_PAUSE: Duration = Duration::from_secs(300);

/// The caches of this machine.
pub struct LocalVolumes(pub Arc<LocalDriver>);

#[async_trait]
impl Volumes for LocalVolumes {
    async fn usage(&self) -> Result<Vec<VolumeGauge>, String> {
        gauges(self.0.maintain(&Epoch::Standing, Maintenance::Usage).await)
    }
}

type Gauges = Result<Vec<VolumeGauge>, String>;
type Asking = Pin<Box<dyn Future<Output = Gauges> + Send>>;

/// The cache volumes of a cluster, with the last measurement.
pub struct ClusterVolumes {
    ask: Box<dyn Fn() -> Asking + Send + Sync>,
    state: Mutex<Seen>,
}

/// The last measurement, and the one in progress, which may take longer than its caller waits.
#[derive(Default)]
struct Seen {
    last: Option<(Instant, Gauges)>,
    asking: JoinSet<Gauges>,
}

impl ClusterVolumes {
    /// The volumes of this driver's cluster.
    pub fn new(driver: Arc<KubeDriver>) -> ClusterVolumes {
        ClusterVolumes::asked_by(move || Box::pin(ask(Arc::clone(&driver))))
    }

    fn asked_by(ask: impl Fn() -> Asking + Send + Sync + 'static) -> ClusterVolumes {
        ClusterVolumes {
            ask: Box::new(ask),
            state: Mutex::default(),
        }
    }
}

#[async_trait]
impl Volumes for ClusterVolumes {
    async fn usage(&self) -> Gauges {
        let mut state = self.state.lock().await;
        if let Some((at, last)) = &state.last
            && at.elapsed()
                < if last.is_ok() {
                    ON_CLUSTER_EVERY
                } else {
                    ON_CLUSTER_PAUSE
                }
        {
            return last.clone();
        }
        if state.asking.is_empty() {
            state.asking.spawn((self.ask)());
        }
        let answer = match state.asking.join_next().await {
            Some(Ok(answer)) => answer,
            Some(Err(panic)) => Err(panic.to_string()),
            None => Err("not measured yet".to_owned()),
        };
        state.last = Some((Instant::now(), answer.clone()));
        answer
    }
}

async fn ask(driver: Arc<KubeDriver>) -> Gauges {
    let report = driver.maintain(&Epoch::Standing, PodMaintenanceCommand::Usage).await;
    gauges(report.map(|report| match report {
        PodMaintainReport::Maintained { report } => report,
        PodMaintainReport::Failed { failure } => MaintainReport::Failed { failure },
        PodMaintainReport::Done | PodMaintainReport::SetAside { .. } => MaintainReport::Usage(Default::default()),
    }))
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
        MaintainReport::Contents(_) | MaintainReport::Gc(_) | MaintainReport::Verify(_) => {
            Err("the caches answered with something other than their usage".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_measurement_runs_once_and_its_result_is_kept() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let volumes = ClusterVolumes::asked_by(move || {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            Box::pin(async move {
                sleep(Duration::from_secs(100)).await;
                let gauge = |volume: &str| VolumeGauge {
                    volume: volume.to_owned(),
                    bytes: 1,
                    inodes: 1,
                };
                if first {
                    Ok(vec![gauge("python")])
                } else {
                    Err("no".to_owned())
                }
            })
        });
        let look = || timeout(Duration::from_secs(30), volumes.usage());
        for _ in 0..3 {
            assert!(look().await.is_err());
        }
        assert_eq!(look().await.unwrap().unwrap().len(), 1);
        assert_eq!(look().await.unwrap().unwrap().len(), 1);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        sleep(ON_CLUSTER_EVERY).await;
        assert!(timeout(ON_CLUSTER_PAUSE, volumes.usage()).await.unwrap().is_err());
        assert!(look().await.unwrap().is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
