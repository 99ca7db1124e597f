//! Measures what the volumes of a cluster hold.

use std::time::Duration;

use hybrid_cache_driver::Epoch;
use hybrid_cache_driver::kube::{KubeDriver, VolumeSet};
use hybrid_cache_model::maintain::{MaintainReport, UsageReport};
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_tools::{Checkout, Result, failed};
use tokio::time::timeout;

use crate::api::ClusterApi;
use crate::connection::{self, ClusterConnection};

/// Longest time for measuring the volumes; after it, the rest is shown without the measurement.
const USAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the volumes of each set hold, or why that is not known.
pub type UsageOfSets = Vec<(VolumeSet, Result<UsageReport>)>;

/// Measures the volumes of every set in pods.
///
/// # Errors
/// There is no driver for the cluster.
pub async fn usage(checkout: &Checkout, api: ClusterApi) -> Result<UsageOfSets> {
    let mut config = connection::config(checkout, None).await?;
    config.namespace.clone_from(&api.namespace);
    Ok(measure_sets(&ClusterConnection { api, config }.driver().await?).await)
}

/// Measures the volumes of every set through an open driver.
pub async fn measure_sets(driver: &KubeDriver) -> UsageOfSets {
    let sets = driver.config().sets();
    let first = sets.first().map(|set| set.name.clone());
    let mut measured = Vec::new();
    for set in sets {
        let usage = match Some(&set.name) == first.as_ref() {
            true => measure(driver).await,
            false => Err(failed!("the driver measures the first volume set only")),
        };
        measured.push((set, usage));
    }
    measured
}

/// Measures the volumes of the first set through an open driver.
///
/// # Errors
/// No pod can run, or it takes too long.
pub async fn measure(driver: &KubeDriver) -> Result<UsageReport> {
    let asked = timeout(
        USAGE_TIMEOUT,
        driver.maintain(&Epoch::Standing, PodMaintenanceCommand::Usage),
    )
    .await;
    let answer = asked.map_err(|_| failed!("no answer within {} s", USAGE_TIMEOUT.as_secs()))?;
    match answer? {
        PodMaintainReport::Maintained {
            report: MaintainReport::Usage(usage),
        } => Ok(usage),
        PodMaintainReport::Failed { failure } => Err(failure.into()),
        other => Err(failed!(
            "the pod answered with something other than its usage: {other:?}"
        )),
    }
}
