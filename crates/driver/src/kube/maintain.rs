//! Looking after the volumes by a Job: folders of epochs, what they hold, making room, checking.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hybrid_cache_model::pod::{PodMaintainReport, PodQuestion};
use hybrid_cache_model::{Failure, FailureKind, Tenant};
use tokio::sync::watch;

use super::cluster::Patience;
use super::job;
use super::names::{self, Component};
use super::retry::PATIENCE;
use super::task::Bounds;
use super::{KubeDriver, Shared, explain, render, request, sweep};
use crate::Epoch;

/// Longest that making or deleting folders may take.
const FOLDERS: Duration = Duration::from_secs(600);
/// Longest that looking at everything in the caches may take.
const CACHES: Duration = Duration::from_secs(1800);
/// Between the runner's own deadline and the driver's.
const GRACE: Duration = Duration::from_secs(30);

impl KubeDriver {
    /// Has a pod look after the volumes. Questions about epochs mount whole volumes, the others those of `epoch`.
    ///
    /// # Errors
    /// The pod could not run or did not answer; also what it answered, where that is a failure.
    pub async fn maintain(&self, epoch: &Epoch, question: PodQuestion) -> Result<PodMaintainReport, Failure> {
        ask(self.shared(), epoch, question).await
    }

    /// Makes the folders of the standing caches on both volumes, which pods mount; needed once for each pair of
    /// volumes. Folders that are there stay as they are.
    ///
    /// # Errors
    /// The volumes cannot be mounted or written.
    pub async fn initialise(&self) -> Result<(), Failure> {
        let tenant = Tenant::default();
        let question = PodQuestion::CreateEpoch { epoch: None, tenant };
        self.maintain(&Epoch::Standing, question).await.map(|_| ())
    }

    /// Makes the folders of a new epoch, and notes it for the sweep.
    pub(super) async fn create_epoch(&self) -> Result<Epoch, Failure> {
        let name = names::unique("epoch");
        sweep::note_epoch(self.shared(), &name).await?;
        let question = PodQuestion::CreateEpoch {
            epoch: Some(name.clone()),
            tenant: Tenant::default(),
        };
        self.maintain(&Epoch::Standing, question).await?;
        Ok(Epoch::Fresh(name))
    }

    /// Deletes the folders of an epoch and the note of it.
    pub(super) async fn delete_epoch(&self, epoch: &Epoch) -> Result<(), Failure> {
        match epoch {
            Epoch::Standing => Ok(()),
            Epoch::Fresh(name) => delete_epoch(self.shared(), name).await,
        }
    }
}

/// Tenants whose folders are known to be on the volumes.
#[derive(Debug, Default)]
pub struct Tenants {
    known: Mutex<HashSet<(Epoch, Tenant)>>,
    /// Held while folders are made: the tasks of a new tenant ask once.
    making: tokio::sync::Mutex<()>,
}

impl Tenants {
    fn know(&self, epoch: &Epoch, tenant: &Tenant) -> bool {
        // `up`, and whoever made the epoch, have made those of the tenant that everybody has.
        *tenant == Tenant::default() || self.lock().contains(&(epoch.clone(), tenant.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(Epoch, Tenant)>> {
        // The set is whole between its calls, whatever panicked.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the folders of a tenant that its pods mount, once for each tenant and epoch.
///
/// # Errors
/// The pod could not run, or the volumes cannot be written.
pub async fn ensure_tenant(shared: &Arc<Shared>, epoch: &Epoch, tenant: &Tenant) -> Result<(), Failure> {
    if shared.tenants.know(epoch, tenant) {
        return Ok(());
    }
    let _alone = shared.tenants.making.lock().await;
    if shared.tenants.know(epoch, tenant) {
        return Ok(());
    }
    let question = PodQuestion::CreateEpoch {
        epoch: match epoch {
            Epoch::Standing => None,
            Epoch::Fresh(name) => Some(name.clone()),
        },
        tenant: tenant.clone(),
    };
    ask(shared, &Epoch::Standing, question).await?;
    shared.tenants.lock().insert((epoch.clone(), tenant.clone()));
    Ok(())
}

/// Deletes the folders of an epoch and the note of it.
///
/// # Errors
/// The pod could not run, or something cannot be deleted.
pub async fn delete_epoch(shared: &Arc<Shared>, name: &str) -> Result<(), Failure> {
    let question = PodQuestion::DeleteEpoch { epoch: name.to_owned() };
    ask(shared, &Epoch::Standing, question).await?;
    shared.cluster.delete_secret(name).await
}

async fn ask(shared: &Arc<Shared>, epoch: &Epoch, question: PodQuestion) -> Result<PodMaintainReport, Failure> {
    let whole = matches!(
        question,
        PodQuestion::CreateEpoch { .. } | PodQuestion::DeleteEpoch { .. } | PodQuestion::SetAside
    );
    let limit = if whole { FOLDERS } else { CACHES };
    let epoch = match epoch {
        Epoch::Standing => None,
        Epoch::Fresh(name) => Some(name.as_str()),
    };
    let name = names::unique("maintain");
    let deadline_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let data = request::question(&shared.config, question, deadline_ms)?;
    let secret = render::secret(Component::Maintenance, &name, &name, data);
    let job = render::maintenance_job(&shared.config, &name, epoch, whole, limit.as_secs());
    let patience = Patience {
        answer: PATIENCE,
        room: Duration::from_secs(shared.config.start_s),
    };
    let made = job::make(shared, &secret, &job.into(), patience).await;
    let (mut running, _) = made.map_err(|not_made| not_made.failure().clone())?;
    let start = Duration::from_secs(shared.config.start_s);
    let bounds = Bounds {
        start,
        whole: start + limit + GRACE,
    };
    // The sender is kept until the end: nobody cancels this.
    let (_keep, mut cancel) = watch::channel(false);
    let ended = running.end(bounds, &mut cancel, |_, _| {}).await.map_err(for_volumes)?;
    let report = explain::report(&ended, &running.sight()).map_err(for_volumes)?;
    tokio::spawn(job::delete(Arc::clone(shared), running.kind, name, None));
    match report {
        PodMaintainReport::Failed { failure } => Err(failure),
        report => Ok(report),
    }
}

/// The explanations speak of tasks.
fn for_volumes(failure: Failure) -> Failure {
    Failure {
        message: failure.message.replace("the task's", "the maintenance"),
        hint: failure.hint.filter(|_| failure.kind != FailureKind::OutOfMemory),
        ..failure
    }
}
