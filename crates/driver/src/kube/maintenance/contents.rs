//! Lists what a cluster's volumes hold, for the trace.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use hybrid_cache_model::contents::Contents;
use hybrid_cache_model::pod::{CONTENTS_MARK, PodMaintenanceCommand};
use hybrid_cache_model::{Failure, FailureKind};

use crate::Epoch;
use crate::kube::logs::marked_line;
use crate::kube::maintenance::{job, merge};
use crate::kube::names::TASK_CONTAINER;
use crate::kube::shared::Shared;
use crate::trace::ContentsSource;

/// Least time between two lists: each takes a pod.
const LIST_INTERVAL: Duration = Duration::from_secs(300);
/// Longest that a list may take. The trace that is being written waits for it.
const LIST_TIMEOUT: Duration = Duration::from_secs(120);

/// Asks a maintenance pod what the cluster's volumes hold.
pub struct ClusterContents(pub Weak<Shared>);

#[async_trait]
impl ContentsSource for ClusterContents {
    async fn contents(&self) -> Result<Contents, Failure> {
        let gone = || Failure::new(FailureKind::Internal, "the driver has ended");
        let shared: Arc<Shared> = self.0.upgrade().ok_or_else(gone)?;
        let read = async |pod: String| {
            marked_line::read(&shared.cluster, &pod, TASK_CONTAINER, CONTENTS_MARK)
                .await
                .ok_or_else(|| {
                    let message = format!("the log of the maintenance pod {pod} does not hold the list of the caches");
                    Failure::new(FailureKind::Cluster, message)
                        .hint("the image may be older than this program: `cargo xtask up` brings it up to date")
                })
        };
        let command = || PodMaintenanceCommand::Contents;
        let all =
            (0..shared.sets.count()).map(|set| job::run_and_read(&shared, set, &Epoch::Standing, command(), read));
        let listed = async { try_join_all(all).await.map(merge::contents) };
        tokio::time::timeout(LIST_TIMEOUT, listed).await.unwrap_or_else(|_| {
            let message = format!("the volumes were not listed within {} s", LIST_TIMEOUT.as_secs());
            Err(Failure::new(FailureKind::Deadline, message).hint("`cargo xtask status` shows whether a pod has room"))
        })
    }

    fn pause(&self) -> Duration {
        LIST_INTERVAL
    }
}
