//! The tasks that this process knows, and what it can say of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hybrid_cache_model::{Failure, Outcome, Phase};
use tokio::sync::watch;

use crate::cancel::CancelFlag;
use crate::kube::api::create_error::CreateError;
use crate::kube::flow::admission::WaitForRoom;
use crate::kube::workload::kind::WorkloadKind;
use crate::log::LogWriter;

/// One task, for the driver's callers.
pub struct TaskHandle {
    /// The outcome, once the task's container has ended.
    pub ended: watch::Receiver<TaskAnswer>,
    /// The outcome with everything that came after that.
    pub settled: watch::Receiver<TaskAnswer>,
    /// Whether the cluster has the task.
    pub presence: watch::Receiver<Presence>,
    /// Cancels the task.
    pub cancel: watch::Sender<bool>,
    /// The running phase of a preparation; `None` while nothing is prepared.
    pub preparing: watch::Receiver<Option<Phase>>,
    /// What the task waits for while it has no node.
    pub waits: watch::Receiver<WaitForRoom>,
    /// Its output.
    pub log: Arc<LogWriter>,
    /// Kind and name of its latest workload.
    pub latest_workload: watch::Receiver<Option<(WorkloadKind, String)>>,
}

/// The other ends of a [`TaskHandle`], for the flow that runs the task.
pub struct TaskChannels {
    /// Receives the outcome as soon as the task's container has ended.
    pub ended: watch::Sender<TaskAnswer>,
    /// Receives the outcome at the very end.
    pub settled: watch::Sender<TaskAnswer>,
    /// Receives whether the cluster has the task.
    pub presence: watch::Sender<Presence>,
    /// Whether someone cancelled the task.
    pub cancel: CancelFlag,
    /// Receives the running phase of a preparation.
    pub preparing: watch::Sender<Option<Phase>>,
    /// Receives what the task waits for while it has no node.
    pub waits: watch::Sender<WaitForRoom>,
    /// Receives its output.
    pub log: Arc<LogWriter>,
    /// Receives kind and name of its latest workload.
    pub latest_workload: watch::Sender<Option<(WorkloadKind, String)>>,
}

/// The answer to a question about a task.
#[derive(Clone, Debug)]
pub enum TaskAnswer {
    /// Nothing is known yet.
    Pending,
    /// The task has ended.
    Outcome(Box<Outcome>),
    /// The cluster has no such task.
    Absent,
    /// The cluster does not answer.
    Unreachable(Failure),
}

/// Whether the cluster has a task.
#[derive(Clone, Debug)]
pub enum Presence {
    /// The cluster is being asked.
    Asking,
    /// It has the task, or has refused it for good; then the outcome says why.
    Present,
    /// It has no such task, and none was to be created.
    Absent,
    /// It did not say.
    Unanswered(CreateError),
}

impl From<&Outcome> for TaskAnswer {
    fn from(outcome: &Outcome) -> TaskAnswer {
        TaskAnswer::Outcome(Box::new(outcome.clone()))
    }
}

/// The tasks of this process, by their tickets' ids.
#[derive(Clone, Default)]
pub struct TaskRegistry(Arc<Mutex<HashMap<String, TaskHandle>>>);

impl TaskRegistry {
    /// Adds a task. `None` if the id is known already.
    pub fn enter(&self, id: &str) -> Option<TaskChannels> {
        let mut tasks = self.lock();
        if tasks.contains_key(id) {
            return None;
        }
        let (handle, channels) = channels();
        tasks.insert(id.to_owned(), handle);
        Some(channels)
    }

    /// Reads something of a task. `None` if the id is not known.
    pub fn pick<T>(&self, id: &str, pick: impl FnOnce(&TaskHandle) -> T) -> Option<T> {
        self.lock().get(id).map(pick)
    }

    /// Forgets a task.
    pub fn remove(&self, id: &str) -> Option<TaskHandle> {
        self.lock().remove(id)
    }

    /// Ends an entry that stands for no task: answers everyone who waits, and drops the entry, so that the next call
    /// queries the cluster again.
    pub fn close(&self, id: &str, channels: TaskChannels, presence: Presence) {
        let is_own = |handle: &TaskHandle| Arc::ptr_eq(&handle.log, &channels.log);
        let mut tasks = self.lock();
        if tasks.get(id).is_some_and(is_own) {
            tasks.remove(id);
        }
        drop(tasks);
        let answer = match &presence {
            Presence::Unanswered(error) => TaskAnswer::Unreachable(error.failure().clone()),
            Presence::Asking | Presence::Present | Presence::Absent => TaskAnswer::Absent,
        };
        channels.log.close();
        channels.ended.send_replace(answer.clone());
        channels.settled.send_replace(answer);
        channels.presence.send_replace(presence);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, TaskHandle>> {
        // The map is complete between its calls, even if one panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn channels() -> (TaskHandle, TaskChannels) {
    let (ended_sender, ended) = watch::channel(TaskAnswer::Pending);
    let (settled_sender, settled) = watch::channel(TaskAnswer::Pending);
    let (presence_sender, presence) = watch::channel(Presence::Asking);
    let (cancel, cancelled) = watch::channel(false);
    let (phase_sender, preparing) = watch::channel(None);
    let (waits_sender, waits) = watch::channel(WaitForRoom::default());
    let (workload_sender, latest_workload) = watch::channel(None);
    let log = Arc::new(LogWriter::new());
    let handle = TaskHandle {
        ended,
        settled,
        presence,
        cancel,
        preparing,
        waits,
        log: Arc::clone(&log),
        latest_workload,
    };
    let channels = TaskChannels {
        ended: ended_sender,
        settled: settled_sender,
        presence: presence_sender,
        cancel: cancelled,
        preparing: phase_sender,
        waits: waits_sender,
        log,
        latest_workload: workload_sender,
    };
    (handle, channels)
}
