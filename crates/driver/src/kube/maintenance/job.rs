//! Runs one of the runner's maintenance commands in a Job that mounts the volumes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_model::{Failure, FailureKind};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::cancel::CancelFlag;
use crate::kube::api::cluster::CreateTimeouts;
use crate::kube::api::retry::OUTAGE_TIMEOUT;
use crate::kube::flow::workload_run::{self, WorkloadRun};
use crate::kube::names::Component;
use crate::kube::observe::explain;
use crate::kube::observe::observed::ContainerEnd;
use crate::kube::observe::step::Bounds;
use crate::kube::pod::request;
use crate::kube::sets::lost;
use crate::kube::shared::Shared;
use crate::kube::workload::kind::WorkloadKind;
use crate::kube::workload::render;
use crate::{Epoch, ids};

/// How long creating or deleting folders may take.
const FOLDERS_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a command that reads everything in the caches may take.
const CACHES_TIMEOUT: Duration = Duration::from_secs(1800);
/// Between the runner's own deadline and the driver's.
const RUNNER_GRACE: Duration = Duration::from_secs(30);

/// A maintenance Job that is deleted when this is dropped before the Job's end was seen.
struct UnfinishedJob {
    shared: Arc<Shared>,
    name: String,
    is_done: bool,
}

impl Drop for UnfinishedJob {
    fn drop(&mut self) {
        // Without a runtime this process is ending, and the Job's own deadline ends the Job.
        if let (false, Ok(runtime)) = (self.is_done, Handle::try_current()) {
            let (shared, name) = (Arc::clone(&self.shared), std::mem::take(&mut self.name));
            runtime.spawn(async move { shared.cluster.delete(WorkloadKind::Job, &name, OUTAGE_TIMEOUT).await });
        }
    }
}

/// Runs a command on a volume set, and returns its report.
///
/// # Errors
/// The pod could not run, or reported a failure.
pub async fn run(
    shared: &Arc<Shared>,
    set: usize,
    epoch: &Epoch,
    question: PodMaintenanceCommand,
) -> Result<PodMaintainReport, Failure> {
    finish(shared, set, epoch, question).await.map(|job| job.report.clone())
}

/// Runs a command on a volume set, and reads something of its pod, by name, before the pod is deleted.
///
/// # Errors
/// The pod could not run or reported a failure, or `read` fails.
pub async fn run_and_read<T>(
    shared: &Arc<Shared>,
    set: usize,
    epoch: &Epoch,
    question: PodMaintenanceCommand,
    read: impl AsyncFnOnce(String) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let job = finish(shared, set, epoch, question).await?;
    match job.pod.clone() {
        Some(pod) => read(pod).await,
        None => Err(Failure::new(FailureKind::Cluster, "the maintenance pod is gone")),
    }
}

/// A maintenance Job that has reported. It is deleted when this is dropped.
struct FinishedJob {
    shared: Arc<Shared>,
    report: PodMaintainReport,
    kind: WorkloadKind,
    name: String,
    pod: Option<String>,
}

impl Drop for FinishedJob {
    fn drop(&mut self) {
        // Without a runtime this process is ending, and Kubernetes deletes the Job later.
        if let Ok(runtime) = Handle::try_current() {
            let (shared, name) = (Arc::clone(&self.shared), std::mem::take(&mut self.name));
            runtime.spawn(workload_run::delete(shared, self.kind, name, None));
        }
    }
}

/// Runs a command to its end. If this is dropped before, the Job is deleted.
async fn finish(
    shared: &Arc<Shared>,
    set: usize,
    epoch: &Epoch,
    question: PodMaintenanceCommand,
) -> Result<FinishedJob, Failure> {
    let whole = matches!(
        question,
        PodMaintenanceCommand::CreateEpoch { .. }
            | PodMaintenanceCommand::DeleteEpoch { .. }
            | PodMaintenanceCommand::SetAside
    );
    let timeout = if whole { FOLDERS_TIMEOUT } else { CACHES_TIMEOUT };
    let name = ids::unique("maintain");
    let deadline_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let data = request::for_maintenance(&shared.config, question, deadline_ms)?;
    let secret = render::secret(Component::Maintenance, &name, &name, data);
    let job = render::maintenance_job(&shared.config, set, &name, epoch.name(), whole, timeout.as_secs());
    let start = Duration::from_secs(shared.config.start_s);
    let timeouts = CreateTimeouts {
        answer: OUTAGE_TIMEOUT,
        room: start,
    };
    let mut unfinished = UnfinishedJob {
        shared: Arc::clone(shared),
        name: name.clone(),
        is_done: false,
    };
    // The sender lives until the end, so nothing cancels this.
    let (_keep, mut cancel) = watch::channel(false);
    let created = workload_run::create(shared, &secret, &job.into(), timeouts, &mut cancel).await;
    let (mut run, _) = created.map_err(|error| error.failure().clone())?;
    let bounds = Bounds {
        start,
        whole: start + timeout + RUNNER_GRACE,
    };
    let ended = end(shared, set, &mut run, bounds, &mut cancel).await;
    // A Job that failed was deleted, or stays for people to look at.
    unfinished.is_done = true;
    let ended = ended.map_err(for_volumes)?;
    let observed = run.observed();
    let report = explain::report(&ended, &observed).map_err(for_volumes)?;
    let finished = FinishedJob {
        shared: Arc::clone(shared),
        report,
        kind: run.kind,
        name,
        pod: observed.pod.map(|pod| pod.name),
    };
    match &finished.report {
        PodMaintainReport::Failed { failure } => Err(failure.clone()),
        _ => Ok(finished),
    }
}

/// Waits for the end. If there are other sets, the volumes of this one may be given up before: then the set is down.
async fn end(
    shared: &Arc<Shared>,
    set: usize,
    run: &mut WorkloadRun,
    bounds: Bounds,
    cancel: &mut CancelFlag,
) -> Result<ContainerEnd, Failure> {
    let unusable = lost::wait(run.followed.observed.clone(), Duration::ZERO);
    let (kind, name, observed) = (run.kind, run.name.clone(), run.followed.observed.clone());
    let ended = tokio::select! {
        ended = run.end(bounds, cancel, |_, _| {}) => ended,
        why = unusable, if shared.sets.count() > 1 => {
            // Without another set that is up, nothing changes.
            let _ = shared.sets.mark_down(set, Instant::now());
            workload_run::delete(Arc::clone(shared), kind, name, None).await;
            let message = format!("its volumes cannot be used: {why}");
            Err(Failure::new(FailureKind::Unschedulable, message)
                .hint("`kubectl get nodes` and `kubectl get pvc` show what is missing; the other volume sets work"))
        }
    };
    if let Some(at) = observed.borrow().first_seen.scheduled {
        shared.sets.note_scheduled(set, at);
    }
    ended
}

/// Rewords an explanation, which speaks of a task.
fn for_volumes(failure: Failure) -> Failure {
    Failure {
        message: failure.message.replace("the task's", "the maintenance"),
        hint: failure.hint.filter(|_| failure.kind != FailureKind::OutOfMemory),
        ..failure
    }
}
