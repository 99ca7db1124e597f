//! Clears away what crashed drivers left: Secrets without a Job, and epochs that nobody measures any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_model::Failure;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{Shared, maintain, names};

/// A Secret is bound to its Job within seconds; one that is not after this never will be.
const UNBOUND: Duration = Duration::from_secs(600);
/// No bench takes longer than this.
const EPOCH: Duration = Duration::from_secs(24 * 3600);
/// Value of the component label of an epoch's note.
const EPOCH_COMPONENT: &str = "epoch";

/// Notes that an epoch is about to be made: a Secret of its name without content.
///
/// # Errors
/// The cluster refuses it, or does not answer.
pub async fn note_epoch(shared: &Shared, name: &str) -> Result<(), Failure> {
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
    shared.cluster.create_secret(&note).await
}

/// Clears away what is old enough. What cannot be cleared away stays for the next time.
pub async fn run(shared: Arc<Shared>) {
    let Ok(secrets) = shared.cluster.secrets().await else {
        return;
    };
    let now = Timestamp::now();
    for secret in secrets {
        let Some(age) = secret.creation_timestamp().map(|created| now.duration_since(created.0)) else {
            continue;
        };
        let age = age.unsigned_abs();
        let name = secret.name_any();
        let is_epoch = secret
            .labels()
            .get(names::COMPONENT)
            .is_some_and(|value| value == EPOCH_COMPONENT);
        if is_epoch && age > EPOCH {
            let _ = maintain::delete_epoch(&shared, &name).await;
        } else if !is_epoch && age > UNBOUND && secret.owner_references().is_empty() {
            // A driver that lost its cluster between two requests may have left a Job, which then owns its Secret.
            let _ = unbound(&shared, &name).await;
        }
    }
}

async fn unbound(shared: &Shared, name: &str) -> Result<(), Failure> {
    match shared.cluster.job(name).await? {
        Some(job) => shared.cluster.own(&job).await,
        None => shared.cluster.delete_secret(name).await,
    }
}
