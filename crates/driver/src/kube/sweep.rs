//! Clears away what crashed drivers left: Secrets without a Job, and epochs that nobody measures any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hybrid_cache_model::Failure;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;

use super::retry::PATIENCE;
use super::{KubeDriver, Shared, maintain, names};

/// A Secret is bound to its Job within seconds; one that is not after this never will be.
const UNBOUND: Duration = Duration::from_secs(600);
/// Time between two looks.
const EVERY: Duration = Duration::from_secs(3600);
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
    shared.cluster.create_secret(&note, PATIENCE).await
}

/// Something that a crashed driver left.
enum Left {
    /// An epoch that nobody measures any more.
    Epoch,
    /// A Secret without a workload.
    Unbound,
}

fn left(secret: &PartialObjectMeta<Secret>, now: Timestamp) -> Option<Left> {
    // One from the future, of a cluster whose clock is ahead, has no age yet.
    let age = Duration::try_from(now.duration_since(secret.creation_timestamp()?.0)).unwrap_or_default();
    let is_epoch = secret
        .labels()
        .get(names::COMPONENT)
        .is_some_and(|value| value == EPOCH_COMPONENT);
    if is_epoch {
        return (age > EPOCH).then_some(Left::Epoch);
    }
    (age > UNBOUND && secret.owner_references().is_empty()).then_some(Left::Unbound)
}

/// Clears away what is old enough, now and in a while again.
pub async fn run(shared: Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        once(&shared).await;
        drop(shared);
        tokio::time::sleep(EVERY).await;
    }
}

/// What cannot be cleared away stays for the next time.
async fn once(shared: &Arc<Shared>) {
    let Ok(secrets) = shared.cluster.secrets().await else {
        return;
    };
    let now = Timestamp::now();
    for secret in secrets {
        let name = secret.name_any();
        let _ = match left(&secret, now) {
            Some(Left::Epoch) => maintain::delete_epoch(shared, &name).await,
            // A driver that lost its cluster between two requests may have left a workload, which then owns its Secret.
            Some(Left::Unbound) => unbound(shared, &name).await,
            None => Ok(()),
        };
    }
}

impl KubeDriver {
    /// What crashed drivers have left and the next one that is opened clears away: `epoch NAME`, `secret/NAME`.
    ///
    /// # Errors
    /// The cluster does not let us look, or does not answer.
    pub async fn leftovers(&self) -> Result<Vec<String>, Failure> {
        let secrets = self.shared().cluster.secrets().await?;
        let now = Timestamp::now();
        let name = |secret: &PartialObjectMeta<Secret>| match left(secret, now)? {
            Left::Epoch => Some(format!("epoch {}", secret.name_any())),
            Left::Unbound => Some(format!("secret/{}", secret.name_any())),
        };
        Ok(secrets.iter().filter_map(name).collect())
    }
}

async fn unbound(shared: &Shared, name: &str) -> Result<(), Failure> {
    for kind in shared.cluster.kinds() {
        if let Some(workload) = shared.cluster.workload(*kind, name, PATIENCE).await? {
            return shared.cluster.own(&workload, PATIENCE).await;
        }
    }
    shared.cluster.delete_secret(name).await
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::SignedDuration;

    use super::*;

    #[test]
    fn what_is_from_the_future_is_not_left_over() {
        let now = Timestamp::now();
        let made = |ahead: i64| {
            let mut secret = PartialObjectMeta::<Secret>::default();
            let at = now + SignedDuration::from_hours(ahead);
            secret.metadata.creation_timestamp = Some(Time(at));
            secret
        };
        assert!(left(&made(-48), now).is_some());
        assert!(
            left(&made(48), now).is_none(),
            "this machine's clock is behind the cluster's"
        );
    }
}
