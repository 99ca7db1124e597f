//! The tenants whose folders exist on the volumes, as far as this process knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hybrid_cache_model::Tenant;

use crate::Epoch;

/// The epoch, the tenant, and the place of the volume set.
type FolderKey = (Epoch, Tenant, usize);

/// The tenants whose folders exist, by epoch and volume set.
#[derive(Debug, Default)]
pub struct TenantFolders(Mutex<HashMap<FolderKey, FolderState>>);

/// The state of one tenant's folders.
#[derive(Clone, Debug)]
pub enum FolderState {
    /// They exist.
    Ready,
    /// Someone creates them and holds this lock meanwhile, so that they are created once.
    Creating(Arc<tokio::sync::Mutex<()>>),
}

impl TenantFolders {
    /// The state of a tenant's folders. The first caller is to create them.
    pub fn state(&self, epoch: &Epoch, tenant: &Tenant, set: usize) -> FolderState {
        // `up`, or the process that created the epoch, has created those of the default tenant.
        if *tenant == Tenant::default() {
            return FolderState::Ready;
        }
        let key = (epoch.clone(), tenant.clone(), set);
        self.lock()
            .entry(key)
            .or_insert_with(|| FolderState::Creating(Arc::default()))
            .clone()
    }

    /// Notes whether the folders were created. If they were not, the next caller tries.
    pub fn note(&self, epoch: &Epoch, tenant: &Tenant, set: usize, is_created: bool) {
        let key = (epoch.clone(), tenant.clone(), set);
        let mut all = self.lock();
        if is_created {
            all.insert(key, FolderState::Ready);
        } else if let Some(FolderState::Creating(lock)) = all.get(&key)
            && Arc::strong_count(lock) <= 2
        {
            // No other caller waits for the lock.
            all.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FolderKey, FolderState>> {
        // The map is complete between its calls, even if one panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
