//! Keeps the pools: their ReplicaSets, their number of pods, and the deletion of what is over. Kubernetes makes the pods.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::kube::api::retry::OUTAGE_TIMEOUT;
use crate::kube::maintenance::tenants;
use crate::kube::names;
use crate::kube::shared::Shared;
use crate::kube::standby::pool::WantedPool;
use crate::kube::standby::requests;
use crate::kube::standby::set::{self, PoolKey};

/// Longest time between two looks at the pools.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Shortest time between two looks, however many tasks arrive.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// How long a pool may lack pods before the keeper looks why.
const SHORT_TIME: Duration = Duration::from_secs(10);
/// How often a driver notes that it uses a pool, and looks for pools of drivers that are gone.
const NOTE_INTERVAL: Duration = Duration::from_secs(600);
/// Seconds after which a pool counts as left behind that no driver has noted.
const LEFT_BEHIND_S: i64 = 3 * 600;

/// Keeps the pools until the driver is gone.
pub async fn run(shared: Weak<Shared>) {
    let mut keeper = Keeper::default();
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let woken = Arc::clone(&shared.standby);
        keeper.look(&shared).await;
        drop(shared);
        tokio::time::sleep(MIN_INTERVAL).await;
        // Either way it is time for the next look.
        let _ = tokio::time::timeout(LOOK_INTERVAL, woken.changed.notified()).await;
    }
}

/// What the keeper has done so far.
#[derive(Default)]
struct Keeper {
    /// Pods that each ReplicaSet was last given.
    given: HashMap<String, u32>,
    noted: Option<Instant>,
}

impl Keeper {
    async fn look(&mut self, shared: &Arc<Shared>) {
        let now = Instant::now();
        let (pools, over) = shared.standby.plan(now);
        for name in over {
            self.given.remove(&name);
            // What cannot be deleted now is deleted when it counts as left behind.
            let _ = requests::delete_set(&shared.cluster, &name).await;
        }
        let is_time = self.noted.is_none_or(|noted| now.duration_since(noted) > NOTE_INTERVAL);
        if is_time {
            self.given.clear();
        }
        let mut trouble = None;
        for pool in &pools {
            let is_short = pool.short_for.is_some_and(|time| time > SHORT_TIME);
            if is_short {
                // Someone may have changed or deleted the set.
                self.given.remove(&pool.name);
            }
            match self.give(shared, pool).await {
                Err(failure) => trouble = Some(failure.to_string()),
                Ok(()) if is_short => trouble = requests::set_failure(&shared.cluster, &pool.name).await,
                Ok(()) => {}
            }
        }
        let all_full = pools.iter().all(|pool| pool.short_for.is_none());
        if trouble.is_some() || all_full {
            shared.standby.set_trouble(trouble);
        }
        if is_time {
            self.noted = Some(now);
            remove_others(shared, &pools).await;
        }
        remove_expired(shared).await;
    }

    /// Makes a pool's ReplicaSet what it should be, if it is not known to be that.
    async fn give(&mut self, shared: &Arc<Shared>, pool: &WantedPool) -> Result<(), Failure> {
        if self.given.get(&pool.name) == Some(&pool.replicas) {
            return Ok(());
        }
        // The kubelet would make missing folders as root.
        tenants::ensure(shared, &pool.key.epoch, &pool.key.tenant, pool.key.set).await?;
        if !shared.standby.has(&pool.key) {
            return Ok(());
        }
        let set = set::replica_set(&shared.config, &pool.key, &pool.name, pool.replicas);
        requests::apply_set(&shared.cluster, set).await?;
        self.given.insert(pool.name.clone(), pool.replicas);
        Ok(())
    }
}

/// Ends pools: no task takes a pod of them any longer, and the pods that wait are deleted.
///
/// # Errors
/// The cluster refuses, or does not answer.
pub async fn end(shared: &Arc<Shared>, is_over: impl Fn(&PoolKey) -> bool) -> Result<(), Failure> {
    for name in shared.standby.remove_if(is_over) {
        requests::delete_set(&shared.cluster, &name).await?;
    }
    Ok(())
}

/// Deletes pods that will never take a task, and claimed ones whose time is over. What cannot be deleted stays for the next time.
pub async fn remove_expired(shared: &Arc<Shared>) {
    for name in shared.standby.expired(Timestamp::now()) {
        let _ = shared.cluster.delete_pod(&name, OUTAGE_TIMEOUT).await;
    }
}

/// Deletes ReplicaSets of the same caches with another template, and those that no driver has used for long.
pub async fn remove_others(shared: &Arc<Shared>, pools: &[WantedPool]) {
    let Ok(sets) = requests::list_sets(&shared.cluster).await else {
        return;
    };
    let now_s = Timestamp::now().as_second();
    for found in sets {
        let name = found.name_any();
        let annotation = |key: &str| found.annotations().get(key).map(String::as_str);
        let used_s: Option<i64> = annotation(names::USED_AT).and_then(|text| text.parse().ok());
        // A pool of the time before there were several sets is the first one's.
        let set = match found.labels().get(names::SET) {
            Some(name) => shared.sets.find(name),
            None => Some(0),
        };
        // Interpreters that another driver prepares for other packages are left alone.
        let same_caches = |key: &PoolKey| {
            let same_packages = set::packages(key).as_deref() == annotation(names::PREPARED);
            let same_place = Some(key.set) == set && key.epoch.name() == annotation(names::EPOCH);
            same_packages && same_place && Some(key.tenant.as_str()) == annotation(names::TENANT)
        };
        let is_ours = pools.iter().any(|pool| pool.name == name);
        let is_replaced = pools.iter().any(|pool| same_caches(&pool.key));
        let is_left = used_s.is_none_or(|used_s| now_s - used_s > LEFT_BEHIND_S);
        if !is_ours && (is_replaced || is_left) {
            let _ = requests::delete_set(&shared.cluster, &name).await;
        }
    }
}
