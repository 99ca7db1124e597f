//! Standby pods: started ahead, with both caches of a tenant mounted, each waiting for its one task.
//!
//! ```text
//! keeper ── ReplicaSet ──► pods, ready          Kubernetes replaces each pod that leaves
//!                            │
//! claim  ── one conditional change of labels: the pod leaves its set and carries the task
//!                            │
//! exchange ── attach ──► order in; output and report out
//!                            │
//!                          the pod is deleted
//! ```
//!
//! A pod belongs to a *pool*: an epoch and a tenant, whose caches it mounts. A pool's name holds a hash of its pods' template, so pods
//! of an older image or other settings are in no pool that is claimed from. What a watch has shown of the pods is a hint; only the
//! claim decides, because the API server accepts it from one driver alone.
//!
//! A pool may also prepare an interpreter for tasks with certain packages, if an operator asks for it. Such tasks take its pods first,
//! then those of the pool for any task.
//!
//! Only tasks that are known to be cached take a standby pod. If none is free, or a claimed one does not begin the task, the task
//! runs as a Job.

pub mod adopt;
pub mod claim;
pub mod exchange;
pub mod keeper;
pub mod pool;
pub mod range;
pub mod requests;
pub mod set;

use std::sync::Arc;

use hybrid_cache_model::Tenant;

use crate::Epoch;
use crate::kube::shared::Shared;
use crate::kube::standby::set::PoolKey;

/// True if a pool has these caches. The first call for a tenant begins its pool; a fresh epoch has one only if someone has asked for it.
pub fn ask_for(shared: &Arc<Shared>, epoch: &Epoch, tenant: &Tenant, set: usize) -> bool {
    let Some(range) = shared.config.standby else {
        return false;
    };
    let key = PoolKey {
        epoch: epoch.clone(),
        tenant: tenant.clone(),
        set,
        prepared: None,
    };
    if shared.standby.has(&key) {
        return true;
    }
    *epoch == Epoch::Standing
        && shared
            .standby
            .ensure(&key, &set::name(&shared.config, &key), range, false)
}
