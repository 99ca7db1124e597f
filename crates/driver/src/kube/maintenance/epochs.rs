//! Creates and deletes the folders of epochs on the volumes, and notes fresh epochs for the sweep.

use std::collections::BTreeMap;
use std::sync::Arc;

use hybrid_cache_model::pod::PodMaintenanceCommand;
use hybrid_cache_model::{Failure, Tenant};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::kube::api::retry::OUTAGE_TIMEOUT;
use crate::kube::maintenance::on_sets;
use crate::kube::names;
use crate::kube::shared::Shared;
use crate::{Epoch, ids};

/// Value of the component label of an epoch's note.
pub const EPOCH_COMPONENT: &str = "epoch";

/// Creates the folders of a new epoch on all volume sets, and notes it for the sweep.
///
/// # Errors
/// The cluster does not answer, or the folders cannot be created.
pub async fn create(shared: &Arc<Shared>) -> Result<Epoch, Failure> {
    let name = ids::unique("epoch");
    note(shared, &name).await?;
    let question = PodMaintenanceCommand::CreateEpoch {
        epoch: Some(name.clone()),
        tenant: Tenant::default(),
    };
    on_sets::done(shared, &question).await?;
    Ok(Epoch::Fresh(name))
}

/// Deletes the folders of an epoch on all volume sets, and its note. The note stays if a set does not answer, for the sweep.
///
/// # Errors
/// The pod could not run, or something cannot be deleted.
pub async fn delete(shared: &Arc<Shared>, name: &str) -> Result<(), Failure> {
    let question = PodMaintenanceCommand::DeleteEpoch { epoch: name.to_owned() };
    on_sets::done(shared, &question).await?;
    shared.cluster.delete_secret(name).await
}

/// Notes that an epoch is about to be created: an empty Secret of its name.
async fn note(shared: &Shared, name: &str) -> Result<(), Failure> {
    let labels = [(names::MANAGED_BY, names::MANAGER), (names::COMPONENT, EPOCH_COMPONENT)];
    let labels: BTreeMap<String, String> = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let note = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        ..Secret::default()
    };
    shared.cluster.create_secret(&note, OUTAGE_TIMEOUT).await
}
