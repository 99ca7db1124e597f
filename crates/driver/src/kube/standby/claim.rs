//! Claims a standby pod for one task: one conditional change of its labels.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::kube::api::retry::OUTAGE_TIMEOUT;
use crate::kube::flow::attempt::RUNNER_GRACE;
use crate::kube::flow::context::TaskContext;
use crate::kube::logs::trailer;
use crate::kube::names::{self, Component};
use crate::kube::pod::variant::PodVariant;
use crate::kube::shared::Shared;
use crate::kube::standby::pool::Candidate;
use crate::kube::standby::requests::{self, ClaimAnswer};
use crate::kube::standby::set::PoolKey;
use crate::time::micros;

/// Pods that are tried for one task.
const MAX_TRIES: usize = 3;
/// Seconds that a claimed pod may exist beyond its task's time limit: for a driver that is started again and asks for the outcome.
const KEEP_S: u64 = 3600;

/// A pod that carries one task and has not been sent it.
pub struct ClaimedPod {
    /// As the API server answered.
    pub pod: Pod,
    /// Marks what its runner says of the task.
    pub token: String,
}

/// Claims a pod for a task. `None` if none is free, or the API server accepts no claim.
pub async fn claim(context: &TaskContext) -> Option<ClaimedPod> {
    let shared = &context.shared;
    let key = PoolKey {
        epoch: context.options.epoch.clone(),
        tenant: context.options.tenant.clone(),
        set: context.set.place(),
    };
    let began = Instant::now();
    let mut next = shared.standby.take(&key);
    for _ in 0..MAX_TRIES {
        let Some(candidate) = next else { break };
        let token = trailer::token();
        match requests::claim(&shared.cluster, &candidate.name, &metadata(context, &candidate, &token)).await {
            ClaimAnswer::Claimed(pod) if pod.metadata.deletion_timestamp.is_none() => {
                shared.standby.see(&pod);
                shared
                    .standby
                    .count(|counts| counts.claim_us += micros(began.elapsed()));
                return Some(ClaimedPod { pod: *pod, token });
            }
            ClaimAnswer::Claimed(_) | ClaimAnswer::Conflict => {
                // It stays taken until the watch shows it again, or shows that it is gone.
                shared.standby.count(|counts| counts.conflicts += 1);
            }
            ClaimAnswer::Refused(why) => {
                shared
                    .standby
                    .note_refused(format!("the cluster refuses to claim a standby pod: {why}"));
                break;
            }
            ClaimAnswer::Unknown => {
                discard(shared, candidate.name);
                break;
            }
        }
        next = shared.standby.take_another(&candidate.pool);
    }
    shared.standby.count(|counts| counts.none_free += 1);
    None
}

/// Deletes a pod that will not run its task, in the background.
pub fn discard(shared: &Arc<Shared>, name: String) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        // If the cluster does not answer, the keeper deletes it later.
        let _ = shared.cluster.delete_pod(&name, OUTAGE_TIMEOUT).await;
    });
}

/// What the claim changes, on condition that the pod is as it was seen.
fn metadata(context: &TaskContext, candidate: &Candidate, token: &str) -> serde_json::Value {
    let limit_s = context.options.limits.time_ms / 1000 + RUNNER_GRACE.as_secs() + KEEP_S;
    let until_s = Timestamp::now().as_second().saturating_add_unsigned(limit_s);
    json!({
        "resourceVersion": candidate.version,
        // Deleting the pool must not delete it.
        "ownerReferences": null,
        "labels": {
            (names::STANDBY): null,
            (names::COMPONENT): Component::Task.value(),
            (names::TASK): context.id,
        },
        "annotations": {
            (names::CLAIMED_UNTIL): until_s.to_string(),
            (names::TRAILER): token,
            (names::POD_VARIANT): PodVariant::Warm.name(),
        },
    })
}
