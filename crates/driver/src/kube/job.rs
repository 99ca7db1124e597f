//! One workload from its making to the end of its container: made, watched, ended early where somebody wants that.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hybrid_cache_model::{End, Failure, FailureKind};
use k8s_openapi::api::core::v1::Secret;
use tokio::sync::watch;

use super::book::Answer;
use super::cluster::{NotMade, Patience};
use super::pulse::Counted;
use super::sight::{Ended, Sight};
use super::task::{self, Bounds, Step, Will};
use super::watch::Following;
use super::workload::{Kind, Workload};
use super::{Shared, book, explain, names};

/// How long a cancelled task may take to end by itself: the pod's grace, and time for the kubelet to say so.
const CANCEL_PATIENCE: Duration = Duration::from_secs(20);
/// After a workload's end: how long the watch of its pod may lag behind before the pod is asked for.
const LAG: Duration = Duration::from_millis(500);

/// Least time until the next look where a bound is near: in an outage it comes no nearer.
const NEXT_LOOK: Duration = Duration::from_millis(50);

/// Whether the task is cancelled.
pub type CancelFlag = watch::Receiver<bool>;

/// Resolves when the task is cancelled, never if nobody can cancel it any more.
pub async fn cancelled(flag: &mut CancelFlag) {
    if flag.wait_for(|cancelled| *cancelled).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A workload that is there, being followed.
pub struct Running {
    shared: Arc<Shared>,
    /// What the watches show of it.
    pub following: Following,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Time that counts against it.
    counted: Counted,
    cancelled: Option<Duration>,
    /// How long it has waited for room, or until the last outage was over: that does not count either.
    waited: Duration,
    /// How many outages of the API server were over when it was last looked at.
    returns: u64,
    /// True once the cluster was asked whether the end of a time is an end.
    looked: bool,
    /// Told by whoever follows the log, where the end stands in it before the container's state shows it.
    pub early: watch::Sender<Option<Ended>>,
    /// What the runner's report in the log is known by.
    pub token: Option<String>,
}

/// Makes a workload and its Secret, and binds them behind the caller's back. It may have been there already; it is
/// returned as it is in the cluster.
///
/// # Errors
/// The cluster refuses, or does not answer.
pub async fn make(
    shared: &Arc<Shared>,
    secret: &Secret,
    workload: &Workload,
    patience: Patience,
    cancel: &mut CancelFlag,
) -> Result<(Running, Workload), NotMade> {
    let following = shared.registry.follow(workload.kind(), workload.name());
    let made = shared.cluster.create(secret, workload, patience, cancel).await?;
    let (cluster, owned) = (Arc::clone(shared), made.clone());
    tokio::spawn(async move {
        // A Secret that stays unbound is swept later.
        let _ = cluster.cluster.own(&owned, cluster.lasting()).await;
    });
    Ok((Running::new(shared, following, &made), made))
}

/// Takes up a workload that another process has made.
pub fn take_up(shared: &Arc<Shared>, workload: &Workload) -> Running {
    let following = shared.registry.follow(workload.kind(), workload.name());
    following.see(|sight| sight.see_workload(workload, Instant::now()));
    Running::new(shared, following, workload)
}

impl Running {
    fn new(shared: &Arc<Shared>, following: Following, workload: &Workload) -> Running {
        Running {
            shared: Arc::clone(shared),
            following,
            kind: workload.kind(),
            name: workload.name().to_owned(),
            token: workload.annotation(names::TRAILER).cloned(),
            counted: shared.pulse.begin(),
            cancelled: None,
            waited: Duration::ZERO,
            returns: shared.pulse.returns(),
            looked: false,
            early: watch::Sender::new(None),
        }
    }

    /// What the watches have shown so far.
    pub fn sight(&self) -> Sight {
        self.following.sight.borrow().clone()
    }

    /// Asks for the pod directly: the watches began after it had changed for the last time, or lag behind. An outage is
    /// waited out.
    ///
    /// # Errors
    /// The cluster does not let us, or has not answered for as long as it keeps what nobody has fetched.
    pub async fn ask(&self) -> Result<(), Failure> {
        let patience = self.shared.lasting();
        let pods = self.shared.cluster.pods(self.kind, &self.name, patience).await?;
        self.following.see(|sight| {
            pods.iter().for_each(|pod| sight.see_pod(pod, Instant::now()));
        });
        Ok(())
    }

    /// Waits until the task's container has ended. `on_sight` is told whatever the watches show.
    ///
    /// # Errors
    /// Why it never will, or never began. What is left of it then is deleted.
    pub async fn end(
        &mut self,
        bounds: Bounds,
        cancel: &mut CancelFlag,
        mut on_sight: impl FnMut(&Sight, &Step),
    ) -> Result<Ended, Failure> {
        let mut early = self.early.subscribe();
        loop {
            let told = early.borrow_and_update().clone();
            if let Some(ended) = told.filter(|ended| self.cancelled.is_none() && task::tells_all(ended)) {
                return Ok(ended);
            }
            let sight = self.following.sight.borrow_and_update().clone();
            // Behind an outage, the cluster may have lost whatever it had done to start the task.
            let returns = self.shared.pulse.returns();
            let had_outage = std::mem::replace(&mut self.returns, returns) != returns;
            if had_outage || explain::waits_for_room(&sight).is_some() {
                self.waited = self.counted.elapsed().min(self.shared.lasting());
            }
            let bounds = self.bounds(bounds, &sight);
            let step = task::next(&sight, self.counted.elapsed(), bounds);
            on_sight(&sight, &step);
            match step {
                Step::Ended(ended) => return Ok(ended),
                Step::Failed(failure) if !self.looked && is_of_time(failure.kind) => {
                    // No watch has shown it, which a watch that is cut off does not either.
                    self.looked = true;
                    self.ask().await?;
                    continue;
                }
                Step::Failed(failure) => {
                    self.clear_away(&sight).await;
                    return Err(failure);
                }
                Step::Ask => {
                    tokio::time::timeout(LAG, self.following.sight.changed()).await.ok();
                    self.ask().await?;
                    // A pod that was there all the time is asked for again once its workload has ended.
                    self.following
                        .see(|sight| sight.asked = sight.pod.is_none() || sight.workload.has_ended());
                    continue;
                }
                Step::Wait | Step::Follow => {}
            }
            tokio::select! {
                _ = self.following.sight.changed() => {}
                _ = early.changed() => {}
                () = cancelled(cancel), if self.cancelled.is_none() => {
                    self.cancelled = Some(self.counted.elapsed());
                    let (shared, kind, name) = (Arc::clone(&self.shared), self.kind, self.name.clone());
                    tokio::spawn(delete(shared, kind, name, pod_name(&sight)));
                }
                () = tokio::time::sleep(bounds.next(self.counted.elapsed()).max(NEXT_LOOK)) => {}
            }
        }
    }

    /// What the driver wants of the task by now.
    pub fn will(&self) -> Will {
        self.cancelled.map_or(Will::Run, |_| Will::Cancel)
    }

    /// Once it is cancelled, little patience is left.
    fn bounds(&self, bounds: Bounds, sight: &Sight) -> Bounds {
        let Some(cancelled) = self.cancelled else {
            let longer = Bounds {
                start: bounds.start.saturating_add(self.waited),
                whole: bounds.whole.saturating_add(self.waited),
            };
            return longer.after_restart(sight);
        };
        let last = cancelled + CANCEL_PATIENCE;
        Bounds {
            start: last,
            whole: last.min(bounds.whole),
        }
    }

    /// Keeps what has not ended by itself from beginning later; leaves the rest for people to look at. It is waited for:
    /// the process may end as soon as it has the outcome.
    async fn clear_away(&self, sight: &Sight) {
        if !sight.is_over() && !sight.workload.has_ended() {
            delete(Arc::clone(&self.shared), self.kind, self.name.clone(), pod_name(sight)).await;
        }
    }
}

/// True for failures that say that something has not been seen in time, not what was seen.
fn is_of_time(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Deadline | FailureKind::Cluster | FailureKind::Unschedulable
    )
}

fn pod_name(sight: &Sight) -> Option<String> {
    sight.pod.as_ref().map(|pod| pod.name.clone())
}

/// Deletes a workload, and its pod rather now than when the garbage collector comes to it.
pub async fn delete(shared: Arc<Shared>, kind: Kind, name: String, pod: Option<String>) {
    let pod = async {
        match &pod {
            Some(pod) => shared.cluster.delete_pod(pod, shared.lasting()).await,
            None => Ok(()),
        }
    };
    // Where the cluster does not answer at all, the workload's own deadline ends it.
    let _ = tokio::join!(shared.cluster.delete(kind, &name, shared.lasting()), pod);
}

/// Workloads of failed tasks that are left for people to look at.
#[derive(Default)]
pub struct Failed(Mutex<VecDeque<(Kind, String)>>);

/// So many of them.
const MOST_FAILED: usize = 16;

impl Failed {
    /// Leaves one; returns the one that has to go for it.
    fn leave(&self, kind: Kind, name: String) -> Option<(Kind, String)> {
        // The list is whole between its calls, whatever panicked.
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.push_back((kind, name));
        if left.len() > MOST_FAILED {
            left.pop_front()
        } else {
            None
        }
    }
}

/// Deletes what the cluster keeps of a task once all that belongs to it has ended. Where this process ends before that,
/// the cluster does it after a while.
pub async fn discard(shared: Arc<Shared>, task: book::Running) {
    let mut settled = task.settled;
    let outcome = match settled.wait_for(|answer| !matches!(answer, Answer::Pending)).await {
        Ok(answer) => answer.clone(),
        Err(_) => return,
    };
    let Answer::Outcome(outcome) = outcome else { return };
    let latest = task.carried_by.borrow().clone();
    let gone = match (latest, &outcome.end) {
        (Some((kind, name)), End::Failed { .. }) => shared.failed.leave(kind, name),
        (latest, _) => latest,
    };
    if let Some((kind, name)) = gone {
        delete(shared, kind, name, None).await;
    }
}
