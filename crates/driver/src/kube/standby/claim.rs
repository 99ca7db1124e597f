//! Claims a standby pod for one task: one conditional change of its labels.

use std::sync::Arc;
use std::time::Instant;

use hybrid_cache_model::prepared::PreparedInterpreter;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::kube::api::retry::OUTAGE_TIMEOUT;
use crate::kube::flow::attempt::RUNNER_GRACE;
use crate::kube::flow::context::TaskContext;
use crate::kube::flow::recent_hits::CacheRequest;
use crate::kube::logs::trailer;
use crate::kube::names::{self, Component};
use crate::kube::pod::variant::PodVariant;
use crate::kube::shared::Shared;
use crate::kube::standby::pool::Candidate;
use crate::kube::standby::requests::{self, ClaimAnswer};
use crate::kube::standby::set::{self, PoolKey};
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
    /// True if it is of a pool that prepares an interpreter for such tasks.
    pub is_prepared: bool,
}

/// The pool that prepares an interpreter for tasks with the same packages, if there is one.
fn prepared_pool(context: &TaskContext) -> Option<PoolKey> {
    let (asked, set) = (context.cache_request(), context.set.place());
    let pools = set::prepared_pools(&context.shared.config).map(|(key, _)| key);
    pools
        .filter(|key| key.set == set)
        .find(|key| key.prepared.as_ref().is_some_and(|entry| serves(key, entry, &asked)))
}

/// True if a task with this request may take the pods of this pool.
fn serves(key: &PoolKey, entry: &PreparedInterpreter, asked: &CacheRequest) -> bool {
    let task = entry.task().check();
    task.is_ok_and(|task| CacheRequest::new(&key.epoch, &key.tenant, &task) == *asked)
}

/// Claims a pod for a task. `None` if none is free, or the API server accepts no claim.
pub async fn claim(context: &TaskContext) -> Option<ClaimedPod> {
    let shared = &context.shared;
    let began = Instant::now();
    let prepared = prepared_pool(context);
    let general = PoolKey {
        epoch: context.options.epoch.clone(),
        tenant: context.options.tenant.clone(),
        set: context.set.place(),
        prepared: None,
    };
    let of_prepared = prepared.as_ref().and_then(|key| shared.standby.take(key));
    let mut is_prepared = of_prepared.is_some();
    let mut next = of_prepared.or_else(|| shared.standby.take(&general));
    for _ in 0..MAX_TRIES {
        let Some(candidate) = next else { break };
        let token = trailer::token();
        match requests::claim(&shared.cluster, &candidate.name, &metadata(context, &candidate, &token)).await {
            ClaimAnswer::Claimed(pod) if pod.metadata.deletion_timestamp.is_none() => {
                shared.standby.see(&pod);
                shared
                    .standby
                    .count(|counts| counts.claim_us += micros(began.elapsed()));
                return Some(ClaimedPod {
                    pod: *pod,
                    token,
                    is_prepared,
                });
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
        if next.is_none() && std::mem::take(&mut is_prepared) {
            next = shared.standby.take(&general);
        }
    }
    shared.standby.count(|counts| counts.none_free += 1);
    None
}

/// Deletes a pod in the background: it will not run its task, or has run it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Epoch;
    use hybrid_cache_model::{TaskSpec, Tenant};

    #[test]
    fn a_task_takes_a_prepared_interpreter_of_exactly_its_packages_and_of_its_own_caches() {
        let entry = PreparedInterpreter {
            dependencies: "numpy, pandas".to_owned(),
            system_dependencies: String::new(),
            imports: vec!["numpy".to_owned()],
            pods: 1,
        };
        let key = PoolKey {
            prepared: Some(entry.clone()),
            ..PoolKey::standing()
        };
        let serves_task = |change: &dyn Fn(&mut TaskSpec), epoch: &Epoch, tenant: &str| {
            let mut spec = TaskSpec {
                dependencies: "pandas,NumPy".to_owned(),
                ..TaskSpec::new("print(1)")
            };
            change(&mut spec);
            let tenant: Tenant = tenant.parse().unwrap();
            serves(&key, &entry, &CacheRequest::new(epoch, &tenant, &spec.check().unwrap()))
        };
        let none: &dyn Fn(&mut TaskSpec) = &|_| {};
        assert!(serves_task(none, &Epoch::Standing, "default"));
        assert!(!serves_task(none, &Epoch::Standing, "team"));
        assert!(!serves_task(none, &Epoch::Fresh("a".to_owned()), "default"));
        for change in [
            (|spec| spec.dependencies = "numpy".to_owned()) as fn(&mut TaskSpec),
            |spec| spec.dependencies.push_str(",idna"),
            |spec| spec.constraints = "numpy<2".to_owned(),
            |spec| spec.python_version = "3.12".to_owned(),
            |spec| spec.system_dependencies = "gcc".to_owned(),
        ] {
            assert!(!serves_task(&change, &Epoch::Standing, "default"));
        }
    }
}
