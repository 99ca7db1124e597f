//! Creates the folders that a new tenant's pods mount.

use std::sync::Arc;

use hybrid_cache_model::pod::PodMaintenanceCommand;
use hybrid_cache_model::{Failure, Tenant};

use crate::Epoch;
use crate::kube::maintenance::job;
use crate::kube::maintenance::tenant_folders::FolderState;
use crate::kube::shared::Shared;

/// Creates the folders of a tenant that its pods mount, once for each tenant, epoch and volume set.
///
/// # Errors
/// The pod could not run, or the volumes cannot be written.
pub async fn ensure(shared: &Arc<Shared>, epoch: &Epoch, tenant: &Tenant, set: usize) -> Result<(), Failure> {
    let FolderState::Creating(lock) = shared.tenants.state(epoch, tenant, set) else {
        return Ok(());
    };
    // The folders are created by a pod of their own, so the task need not block the admission queue.
    let _aside = shared.admission.step_aside();
    let _alone = lock.lock().await;
    if matches!(shared.tenants.state(epoch, tenant, set), FolderState::Ready) {
        return Ok(());
    }
    let question = PodMaintenanceCommand::CreateEpoch {
        epoch: epoch.name().map(str::to_owned),
        tenant: tenant.clone(),
    };
    let created = job::run(shared, set, &Epoch::Standing, question).await;
    shared.tenants.note(epoch, tenant, set, created.is_ok());
    created.map(|_| ())
}
