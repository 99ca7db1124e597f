//! Takes a workload back whose pod has no node, so that its task can be submitted on another set and runs once.

use std::time::Duration;

use hybrid_cache_model::Failure;
use k8s_openapi::api::core::v1::Pod;

use crate::kube::flow::workload_run::WorkloadRun;
use crate::kube::shared::Shared;

/// How often a pod is looked at that changes under the deletion.
const TRIES: u32 = 5;
/// How long the watch may take to show that a pod is gone which others have deleted.
const GONE_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a workload that was to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// It is deleted, and its pod never started and never will.
    NeverStarted,
    /// Its pod has a node by now, or none exists. Nothing was deleted.
    Kept,
    /// It is deleted, but its pod may have started before.
    MayHaveStarted,
}

/// Deletes a workload unless its pod has a node. The pod is deleted on condition that it is as it was seen, without a node: a pod
/// that is being deleted never gets one.
///
/// # Errors
/// The cluster denies access, or has not answered for as long as it keeps ended tasks.
pub async fn withdraw(shared: &Shared, run: &WorkloadRun) -> Result<Withdrawal, Failure> {
    let (cluster, timeout) = (&shared.cluster, shared.retention());
    let pods = cluster.pods(run.kind, &run.name, timeout).await?;
    if pods.is_empty() || pods.iter().any(has_node) {
        run.show(&pods);
        return Ok(Withdrawal::Kept);
    }
    // First the workload, because its controller would replace the pod.
    cluster.delete(run.kind, &run.name, timeout).await?;
    for _ in 0..TRIES {
        let pods = cluster.pods(run.kind, &run.name, timeout).await?;
        if pods.is_empty() {
            break;
        }
        if pods.iter().any(has_node) {
            run.show(&pods);
            return Ok(Withdrawal::MayHaveStarted);
        }
        let mut are_gone = true;
        for pod in &pods {
            are_gone &= pod.metadata.deletion_timestamp.is_some() || cluster.delete_unchanged(pod, timeout).await?;
        }
        if are_gone {
            return Ok(Withdrawal::NeverStarted);
        }
    }
    // The garbage collector was faster. The watch has shown every change until then.
    let mut observed = run.followed.observed.clone();
    let gone = observed.wait_for(|observed| observed.pod_gone);
    let is_gone = matches!(tokio::time::timeout(GONE_TIMEOUT, gone).await, Ok(Ok(_)));
    let had_node = run.observed().first_seen.scheduled.is_some();
    Ok(if is_gone && !had_node {
        Withdrawal::NeverStarted
    } else {
        Withdrawal::MayHaveStarted
    })
}

fn has_node(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}
