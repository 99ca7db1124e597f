//! Looking after the volumes by a Job: folders of epochs, what they hold, making room, checking.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_model::{Failure, FailureKind, Tenant};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::cluster::Patience;
use super::job;
use super::names::{self, Component};
use super::retry::PATIENCE;
use super::task::Bounds;
use super::workload::Kind;
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
    pub async fn maintain(&self, epoch: &Epoch, question: PodMaintenanceCommand) -> Result<PodMaintainReport, Failure> {
        ask(self.shared(), epoch, question).await
    }

    /// Makes the folders of the standing caches on both volumes, which pods mount; needed once for each pair of
    /// volumes. Folders that are there stay as they are.
    ///
    /// # Errors
    /// The volumes cannot be mounted or written.
    pub async fn initialise(&self) -> Result<(), Failure> {
        let tenant = Tenant::default();
        let question = PodMaintenanceCommand::CreateEpoch { epoch: None, tenant };
        self.maintain(&Epoch::Standing, question).await.map(|_| ())
    }

    /// Makes the folders of a new epoch, and notes it for the sweep.
    pub(super) async fn create_epoch(&self) -> Result<Epoch, Failure> {
        let name = names::unique("epoch");
        sweep::note_epoch(self.shared(), &name).await?;
        let question = PodMaintenanceCommand::CreateEpoch {
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

/// What is known of tenants' folders on the volumes.
#[derive(Debug, Default)]
pub struct Tenants(Mutex<HashMap<(Epoch, Tenant), Folders>>);

/// The folders of one tenant.
#[derive(Clone, Debug)]
enum Folders {
    /// They are there.
    Known,
    /// Somebody makes them, and holds this meanwhile: the tasks of a new tenant ask once.
    Making(Arc<tokio::sync::Mutex<()>>),
}

impl Tenants {
    /// What is known of a tenant's folders; who is the first to ask is to make them.
    fn of(&self, epoch: &Epoch, tenant: &Tenant) -> Folders {
        // `up`, and whoever made the epoch, have made those of the tenant that everybody has.
        if *tenant == Tenant::default() {
            return Folders::Known;
        }
        let key = (epoch.clone(), tenant.clone());
        self.lock()
            .entry(key)
            .or_insert_with(|| Folders::Making(Arc::default()))
            .clone()
    }

    /// Takes in what came of making them. Where they were not made, the next one tries.
    fn note(&self, epoch: &Epoch, tenant: &Tenant, made: bool) {
        let key = (epoch.clone(), tenant.clone());
        let mut all = self.lock();
        if made {
            all.insert(key, Folders::Known);
        } else if let Some(Folders::Making(making)) = all.get(&key)
            && Arc::strong_count(making) <= 2
        {
            // Nobody waits behind this one.
            all.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Epoch, Tenant), Folders>> {
        // The map is whole between its calls, whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the folders of a tenant that its pods mount, once for each tenant and epoch.
///
/// # Errors
/// The pod could not run, or the volumes cannot be written.
pub async fn ensure_tenant(shared: &Arc<Shared>, epoch: &Epoch, tenant: &Tenant) -> Result<(), Failure> {
    let Folders::Making(making) = shared.tenants.of(epoch, tenant) else {
        return Ok(());
    };
    // It stands in nobody's way: its pod is one of its own.
    let _aside = shared.entrance.step_aside();
    let _alone = making.lock().await;
    if matches!(shared.tenants.of(epoch, tenant), Folders::Known) {
        return Ok(());
    }
    let question = PodMaintenanceCommand::CreateEpoch {
        epoch: match epoch {
            Epoch::Standing => None,
            Epoch::Fresh(name) => Some(name.clone()),
        },
        tenant: tenant.clone(),
    };
    let made = ask(shared, &Epoch::Standing, question).await;
    shared.tenants.note(epoch, tenant, made.is_ok());
    made.map(|_| ())
}

/// Deletes the folders of an epoch and the note of it.
///
/// # Errors
/// The pod could not run, or something cannot be deleted.
pub async fn delete_epoch(shared: &Arc<Shared>, name: &str) -> Result<(), Failure> {
    let question = PodMaintenanceCommand::DeleteEpoch { epoch: name.to_owned() };
    ask(shared, &Epoch::Standing, question).await?;
    shared.cluster.delete_secret(name).await
}

/// A maintenance Job that nobody wants any more once this is dropped before its end was seen.
struct Unwanted {
    shared: Arc<Shared>,
    name: String,
    is_done: bool,
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        // Without a runtime this process ends, and the Job's own deadline ends the Job.
        if let (false, Ok(runtime)) = (self.is_done, Handle::try_current()) {
            let (shared, name) = (Arc::clone(&self.shared), std::mem::take(&mut self.name));
            runtime.spawn(async move { shared.cluster.delete(Kind::Job, &name, PATIENCE).await });
        }
    }
}

/// Asks by a Job.
async fn ask(
    shared: &Arc<Shared>,
    epoch: &Epoch,
    question: PodMaintenanceCommand,
) -> Result<PodMaintainReport, Failure> {
    asked(shared, epoch, question).await.map(|asked| asked.report.clone())
}

/// Asks, and reads something of the pod that answered before it goes.
///
/// # Errors
/// The pod could not run, or what it left cannot be read.
pub async fn ask_and_read<T>(
    shared: &Arc<Shared>,
    epoch: &Epoch,
    question: PodMaintenanceCommand,
    read: impl AsyncFnOnce(String) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let asked = asked(shared, epoch, question).await?;
    match asked.pod.clone() {
        Some(pod) => read(pod).await,
        None => Err(Failure::new(FailureKind::Cluster, "the maintenance pod is gone")),
    }
}

/// A maintenance Job that has answered; it goes when this is dropped.
struct Asked {
    shared: Arc<Shared>,
    report: PodMaintainReport,
    kind: Kind,
    name: String,
    pod: Option<String>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        // Without a runtime this process ends, and Kubernetes deletes the Job in a while.
        if let Ok(runtime) = Handle::try_current() {
            let (shared, name) = (Arc::clone(&self.shared), std::mem::take(&mut self.name));
            runtime.spawn(job::delete(shared, self.kind, name, None));
        }
    }
}

/// Asks by a Job. One whose answer nobody waits for any more is deleted.
async fn asked(shared: &Arc<Shared>, epoch: &Epoch, question: PodMaintenanceCommand) -> Result<Asked, Failure> {
    let whole = matches!(
        question,
        PodMaintenanceCommand::CreateEpoch { .. }
            | PodMaintenanceCommand::DeleteEpoch { .. }
            | PodMaintenanceCommand::SetAside
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
    let mut unwanted = Unwanted {
        shared: Arc::clone(shared),
        name: name.clone(),
        is_done: false,
    };
    // The sender is kept until the end: nobody cancels this.
    let (_keep, mut cancel) = watch::channel(false);
    let made = job::make(shared, &secret, &job.into(), patience, &mut cancel).await;
    let (mut running, _) = made.map_err(|not_made| not_made.failure().clone())?;
    let start = Duration::from_secs(shared.config.start_s);
    let bounds = Bounds {
        start,
        whole: start + limit + GRACE,
    };
    let ended = running.end(bounds, &mut cancel, |_, _| {}).await;
    // One that failed was cleared away, or stays for people to look at.
    unwanted.is_done = true;
    let ended = ended.map_err(for_volumes)?;
    let sight = running.sight();
    let report = explain::report(&ended, &sight).map_err(for_volumes)?;
    let asked = Asked {
        shared: Arc::clone(shared),
        report,
        kind: running.kind,
        name,
        pod: sight.pod.map(|pod| pod.name),
    };
    match &asked.report {
        PodMaintainReport::Failed { failure } => Err(failure.clone()),
        _ => Ok(asked),
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
