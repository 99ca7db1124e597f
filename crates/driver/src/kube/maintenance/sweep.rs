//! Deletes what crashed drivers left: Secrets without a workload, and epochs that no one measures any longer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hybrid_cache_model::Failure;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;

use crate::kube::api::retry::OUTAGE_TIMEOUT;
use crate::kube::maintenance::epochs::{self, EPOCH_COMPONENT};
use crate::kube::names;
use crate::kube::shared::Shared;
use crate::kube::standby::keeper;

/// Age of a Secret after which it will never get an owner: it gets one within seconds of its creation.
const UNBOUND_AGE: Duration = Duration::from_secs(600);
/// Time between two sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// Age of an epoch after which no bench uses it.
const EPOCH_AGE: Duration = Duration::from_secs(24 * 3600);

/// Something that a crashed driver left.
enum Leftover {
    /// An epoch that no one measures any longer.
    Epoch,
    /// A Secret without a workload.
    Unbound,
}

fn leftover(secret: &PartialObjectMeta<Secret>, now: Timestamp) -> Option<Leftover> {
    // A Secret from the future, of a cluster whose clock is ahead, has no age yet.
    let age = Duration::try_from(now.duration_since(secret.creation_timestamp()?.0)).unwrap_or_default();
    let is_epoch = secret
        .labels()
        .get(names::COMPONENT)
        .is_some_and(|value| value == EPOCH_COMPONENT);
    if is_epoch {
        return (age > EPOCH_AGE).then_some(Leftover::Epoch);
    }
    (age > UNBOUND_AGE && secret.owner_references().is_empty()).then_some(Leftover::Unbound)
}

/// Sweeps now and every hour, until the driver is gone.
pub async fn run(shared: Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        once(&shared).await;
        if shared.config.standby.is_none() {
            keeper::remove_others(&shared, &[]).await;
            keeper::remove_expired(&shared).await;
        }
        drop(shared);
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// What cannot be deleted stays for the next sweep.
async fn once(shared: &Arc<Shared>) {
    let Ok(secrets) = shared.cluster.secrets().await else {
        return;
    };
    let now = Timestamp::now();
    for secret in secrets {
        let name = secret.name_any();
        let _ = match leftover(&secret, now) {
            Some(Leftover::Epoch) => epochs::delete(shared, &name).await,
            // A driver that lost its cluster between two requests may have left a workload, which becomes the owner.
            Some(Leftover::Unbound) => bind_or_delete(shared, &name).await,
            None => Ok(()),
        };
    }
}

/// What crashed drivers have left and the next driver deletes: `epoch NAME`, `secret/NAME`.
///
/// # Errors
/// The cluster denies access, or does not answer.
pub async fn leftovers(shared: &Shared) -> Result<Vec<String>, Failure> {
    let secrets = shared.cluster.secrets().await?;
    let now = Timestamp::now();
    let name = |secret: &PartialObjectMeta<Secret>| match leftover(secret, now)? {
        Leftover::Epoch => Some(format!("epoch {}", secret.name_any())),
        Leftover::Unbound => Some(format!("secret/{}", secret.name_any())),
    };
    Ok(secrets.iter().filter_map(name).collect())
}

async fn bind_or_delete(shared: &Shared, name: &str) -> Result<(), Failure> {
    for kind in shared.cluster.kinds() {
        if let Some(workload) = shared.cluster.workload(*kind, name, OUTAGE_TIMEOUT).await? {
            return shared.cluster.own(&workload, OUTAGE_TIMEOUT).await;
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
    fn a_secret_from_the_future_is_not_a_leftover() {
        let now = Timestamp::now();
        let made = |ahead: i64| {
            let mut secret = PartialObjectMeta::<Secret>::default();
            let at = now + SignedDuration::from_hours(ahead);
            secret.metadata.creation_timestamp = Some(Time(at));
            secret
        };
        assert!(leftover(&made(-48), now).is_some());
        assert!(
            leftover(&made(48), now).is_none(),
            "this machine's clock is behind the cluster's"
        );
    }
}
