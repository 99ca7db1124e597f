//! One workload, from its creation to the end of its task's container. It ends early if someone cancels the task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hybrid_cache_model::{Failure, FailureKind};
use k8s_openapi::api::core::v1::{Pod, Secret};
use tokio::sync::watch;

use crate::cancel::{CancelFlag, cancelled};
use crate::kube::api::cluster::CreateTimeouts;
use crate::kube::api::create_error::CreateError;
use crate::kube::api::pulse::TaskClock;
use crate::kube::names;
use crate::kube::observe::explain;
use crate::kube::observe::observed::{ContainerEnd, ObservedWorkload};
use crate::kube::observe::registry::FollowedWorkload;
use crate::kube::observe::step::{self, Bounds, Intent, Step};
use crate::kube::shared::Shared;
use crate::kube::workload::kind::WorkloadKind;
use crate::kube::workload::object::Workload;

/// How long a cancelled task may take to end by itself: the pod's grace, and time for the kubelet to report the end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the pod watch may lag behind the end of its workload before the driver fetches the pod.
const POD_WATCH_LAG: Duration = Duration::from_millis(500);
/// Least time until the next check near a time limit, which an outage holds back.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// A workload that exists, being followed.
pub struct WorkloadRun {
    shared: Arc<Shared>,
    /// What the watches show of it.
    pub followed: FollowedWorkload,
    /// Job or Workflow.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// The time that counts against the task.
    clock: TaskClock,
    /// When the task was cancelled, on `clock`; `None` while it is not.
    cancelled: Option<Duration>,
    /// How long the workload has waited for room, or until the last outage was over. This time does not count either.
    waited: Duration,
    /// Outages of the API server that were over at the last check.
    returns: u64,
    /// True once the driver has asked the cluster whether a time limit has really passed.
    looked: bool,
    /// Receives the container's end from the log's follower, before the container's state shows it.
    pub early: watch::Sender<Option<ContainerEnd>>,
    /// The token that marks the runner's report in the log; `None` if the log holds none.
    pub token: Option<String>,
}

/// Creates a workload and its Secret, and sets the Secret's owner in a background task. Returns the workload as the
/// cluster has it, which may be one that existed before.
///
/// # Errors
/// The cluster refuses, or does not answer.
pub async fn create(
    shared: &Arc<Shared>,
    secret: &Secret,
    workload: &Workload,
    timeouts: CreateTimeouts,
    cancel: &mut CancelFlag,
) -> Result<(WorkloadRun, Workload), CreateError> {
    let followed = shared.registry.follow(workload.kind(), workload.name());
    let created = shared.cluster.create(secret, workload, timeouts, cancel).await?;
    let (owner, owned) = (Arc::clone(shared), created.clone());
    tokio::spawn(async move {
        // The sweep deletes a Secret that stays without an owner.
        let _ = owner.cluster.own(&owned, owner.retention()).await;
    });
    Ok((WorkloadRun::new(shared, followed, &created), created))
}

/// Takes over a workload that another process has created.
pub fn adopt(shared: &Arc<Shared>, workload: &Workload) -> WorkloadRun {
    let followed = shared.registry.follow(workload.kind(), workload.name());
    followed.update(|observed| observed.apply_workload(workload, Instant::now()));
    WorkloadRun::new(shared, followed, workload)
}

impl WorkloadRun {
    fn new(shared: &Arc<Shared>, followed: FollowedWorkload, workload: &Workload) -> WorkloadRun {
        WorkloadRun {
            shared: Arc::clone(shared),
            followed,
            kind: workload.kind(),
            name: workload.name().to_owned(),
            token: workload.annotation(names::TRAILER).cloned(),
            clock: shared.pulse.begin(),
            cancelled: None,
            waited: Duration::ZERO,
            returns: shared.pulse.returns(),
            looked: false,
            early: watch::Sender::new(None),
        }
    }

    /// What the watches have shown so far.
    pub fn observed(&self) -> ObservedWorkload {
        self.followed.observed.borrow().clone()
    }

    /// Applies pods that were fetched.
    pub fn show(&self, pods: &[Pod]) {
        self.followed.update(|observed| {
            pods.iter().for_each(|pod| observed.apply_pod(pod, Instant::now()));
        });
    }

    /// Fetches the pod directly, because the watches began after its last change or lag behind. Waits out an outage.
    ///
    /// # Errors
    /// The cluster denies access, or has not answered for as long as it keeps ended tasks.
    pub async fn fetch_pod(&self) -> Result<(), Failure> {
        let timeout = self.shared.retention();
        let pods = self.shared.cluster.pods(self.kind, &self.name, timeout).await?;
        self.show(&pods);
        Ok(())
    }

    /// Waits until the task's container has ended. Calls `on_change` with whatever the watches show.
    ///
    /// # Errors
    /// Why the container will never end, or never began. What is left of the workload is deleted then.
    pub async fn end(
        &mut self,
        bounds: Bounds,
        cancel: &mut CancelFlag,
        mut on_change: impl FnMut(&ObservedWorkload, &Step),
    ) -> Result<ContainerEnd, Failure> {
        let mut early = self.early.subscribe();
        loop {
            let early_end = early.borrow_and_update().clone();
            if let Some(ended) = early_end.filter(|ended| self.cancelled.is_none() && step::tells_all(ended)) {
                return Ok(ended);
            }
            let observed = self.followed.observed.borrow_and_update().clone();
            // In an outage, the cluster may have lost what it had done to start the task.
            let returns = self.shared.pulse.returns();
            let had_outage = std::mem::replace(&mut self.returns, returns) != returns;
            if had_outage || explain::waits_for_room(&observed).is_some() {
                self.waited = self.clock.elapsed().min(self.shared.retention());
            }
            let bounds = self.bounds(bounds, &observed);
            let step = step::next(&observed, self.clock.elapsed(), bounds);
            on_change(&observed, &step);
            match step {
                Step::Ended(ended) => return Ok(ended),
                Step::Failed(failure) if !self.looked && is_about_time(failure.kind) => {
                    // No watch has shown an end, but a watch that is cut off shows none either.
                    self.looked = true;
                    self.fetch_pod().await?;
                    continue;
                }
                Step::Failed(failure) => {
                    self.delete_unended(&observed).await;
                    return Err(failure);
                }
                Step::FetchPod => {
                    let changed = self.followed.observed.changed();
                    tokio::time::timeout(POD_WATCH_LAG, changed).await.ok();
                    self.fetch_pod().await?;
                    // A pod that existed all the time is fetched again once its workload has ended.
                    self.followed.update(|observed| {
                        observed.pod_fetched = observed.pod.is_none() || observed.workload.has_ended();
                    });
                    continue;
                }
                Step::Wait | Step::Follow => {}
            }
            tokio::select! {
                _ = self.followed.observed.changed() => {}
                _ = early.changed() => {}
                () = cancelled(cancel), if self.cancelled.is_none() => {
                    self.cancelled = Some(self.clock.elapsed());
                    let (shared, kind, name) = (Arc::clone(&self.shared), self.kind, self.name.clone());
                    tokio::spawn(delete(shared, kind, name, pod_name(&observed)));
                }
                () = tokio::time::sleep(bounds.next(self.clock.elapsed()).max(MIN_CHECK_INTERVAL)) => {}
            }
        }
    }

    /// What the driver wants of the task by now.
    pub fn intent(&self) -> Intent {
        self.cancelled.map_or(Intent::Run, |_| Intent::Cancel)
    }

    /// The time limits that apply now: longer by what does not count, and short once the task is cancelled.
    fn bounds(&self, bounds: Bounds, observed: &ObservedWorkload) -> Bounds {
        let Some(cancelled) = self.cancelled else {
            let longer = Bounds {
                start: bounds.start.saturating_add(self.waited),
                whole: bounds.whole.saturating_add(self.waited),
            };
            return longer.after_restart(observed);
        };
        let last = cancelled + CANCEL_TIMEOUT;
        Bounds {
            start: last,
            whole: last.min(bounds.whole),
        }
    }

    /// Deletes what has not ended by itself, so that it cannot begin later; what has ended stays for people to look at.
    /// The caller waits for this, because its process may end as soon as it has the outcome.
    async fn delete_unended(&self, observed: &ObservedWorkload) {
        if !observed.is_over() && !observed.workload.has_ended() {
            delete(
                Arc::clone(&self.shared),
                self.kind,
                self.name.clone(),
                pod_name(observed),
            )
            .await;
        }
    }
}

/// True for failures that say that something was not seen in time, rather than what was seen.
fn is_about_time(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Deadline | FailureKind::Cluster | FailureKind::Unschedulable
    )
}

fn pod_name(observed: &ObservedWorkload) -> Option<String> {
    observed.pod.as_ref().map(|pod| pod.name.clone())
}

/// Deletes a workload, and its pod at once rather than when the garbage collector reaches it.
pub async fn delete(shared: Arc<Shared>, kind: WorkloadKind, name: String, pod: Option<String>) {
    let pod = async {
        match &pod {
            Some(pod) => shared.cluster.delete_pod(pod, shared.retention()).await,
            None => Ok(()),
        }
    };
    // If the cluster does not answer at all, the workload's own deadline ends it.
    let _ = tokio::join!(shared.cluster.delete(kind, &name, shared.retention()), pod);
}
