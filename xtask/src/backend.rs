//! Opens what a command works on: this machine or a cluster.

use hybrid_cache_cluster::{Backend, ClusterChoice};
use hybrid_cache_tools::Result;

use crate::checkout;
use crate::flags::{DriverName, Local};
use crate::progress::Reporter;

/// Opens the backend that the flags name. `reporter` shows what has to be made first, and nothing more afterwards.
pub async fn open(driver: DriverName, local: &Local, cluster: &ClusterChoice, reporter: &Reporter) -> Result<Backend> {
    let options = local.options(cluster.settings.as_deref());
    let backend = Backend::open(&checkout()?, driver.into(), &options, cluster, reporter).await?;
    reporter.finish();
    Ok(backend)
}
