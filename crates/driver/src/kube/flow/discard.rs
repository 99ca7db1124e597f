//! Deletes what the cluster keeps of a task that its caller has forgotten.

use std::sync::Arc;

use hybrid_cache_model::End;

use crate::kube::flow::task_registry::{TaskAnswer, TaskHandle};
use crate::kube::flow::workload_run;
use crate::kube::shared::Shared;
use crate::kube::workload::kind::WorkloadKind;

/// Deletes a task's latest workload once everything that belongs to the task has ended. If this process ends before,
/// the cluster deletes it when its time to live is over.
pub async fn discard(shared: Arc<Shared>, task: TaskHandle) {
    let mut settled = task.settled;
    let outcome = match settled.wait_for(|answer| !matches!(answer, TaskAnswer::Pending)).await {
        Ok(answer) => answer.clone(),
        Err(_) => return,
    };
    let TaskAnswer::Outcome(outcome) = outcome else { return };
    let latest = task.latest_workload.borrow().clone();
    let surplus = match (latest, &outcome.end) {
        // A standby pod does not stay: it takes the room of one that waits.
        (Some((kind, name)), End::Failed { .. }) if kind != WorkloadKind::Pod => shared.kept_failures.keep(kind, name),
        (latest, _) => latest,
    };
    if let Some((kind, name)) = surplus {
        workload_run::delete(shared, kind, name, None).await;
    }
}
