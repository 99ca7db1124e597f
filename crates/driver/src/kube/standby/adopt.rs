//! Tasks of standby pods that another process has claimed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use tokio::sync::watch;

use crate::kube::api::retry::OUTAGE_TIMEOUT;
use crate::kube::flow::workload_run;
use crate::kube::logs::trailer::TrailerScanner;
use crate::kube::names;
use crate::kube::observe::step::Bounds;
use crate::kube::shared::Shared;
use crate::kube::standby::requests;
use crate::kube::workload::object::Workload;

/// How often a log is looked at for the runner's word, and the pause between two looks. An order is accepted within milliseconds.
const LOOKS: u32 = 3;
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// The runner's word is the first line of the log.
const MAX_LOG_BYTES: i64 = 4096;
/// How long a pod may take to end that has not begun its task: its grace period, and time for the kubelet to report the end.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// The standby pod that has begun a task, if there is one.
///
/// # Errors
/// The cluster does not answer, so it is not known.
pub async fn begun_pod(shared: &Arc<Shared>, id: &str) -> Result<Option<Workload>, Failure> {
    if shared.config.standby.is_none() && !shared.standby.may_have_claimed() {
        return Ok(None);
    }
    match requests::claimed_pod(&shared.cluster, id).await? {
        Some(pod) if has_begun(shared, &pod).await? => Ok(Some(Workload::from(pod))),
        _ => Ok(None),
    }
}

/// True if the pod has begun its task. A pod that has not is deleted, so that it never will: its driver ended between claim and order.
///
/// # Errors
/// The cluster does not answer, so it is not known.
pub async fn has_begun(shared: &Arc<Shared>, pod: &Pod) -> Result<bool, Failure> {
    let workload = Workload::from(pod.clone());
    let Some(token) = workload.annotation(names::TRAILER) else {
        return Ok(true);
    };
    let ended = |pod: &Pod| {
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        let mut ends = statuses
            .into_iter()
            .flatten()
            .map(|status| [&status.state, &status.last_state]);
        ends.any(|states| states.into_iter().flatten().any(|state| state.terminated.is_some()))
    };
    // What an ended container has left says more than its log.
    if ended(pod) {
        return Ok(true);
    }
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let params = LogParams {
            limit_bytes: Some(MAX_LOG_BYTES),
            ..LogParams::default()
        };
        if let Ok(log) = shared.cluster.pods.logs(workload.name(), &params).await {
            let mut scanner = TrailerScanner::new(Some(token));
            scanner.take(log.as_bytes(), &mut Vec::new());
            if scanner.is_accepted() {
                return Ok(true);
            }
        }
    }
    let mut run = workload_run::adopt(shared, &workload);
    run.followed.update(|observed| observed.apply_pod(pod, Instant::now()));
    shared.cluster.delete_pod(workload.name(), OUTAGE_TIMEOUT).await?;
    let bounds = Bounds {
        start: END_TIMEOUT,
        whole: END_TIMEOUT,
    };
    // The sender lives until the end, so nothing cancels this.
    let (_keep, mut cancel) = watch::channel(false);
    match run.end(bounds, &mut cancel, |_, _| {}).await {
        Ok(end) => Ok(!end.message.is_empty()),
        // It was never seen to end, so it may have begun.
        Err(_) => Ok(true),
    }
}
