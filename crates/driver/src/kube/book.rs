//! What this process knows of its tasks, for those who ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hybrid_cache_model::{Failure, Outcome, Phase};
use tokio::sync::watch;

use super::cluster::NotMade;
use super::entrance::WaitForRoom;
use super::workload::Kind;
use crate::log::LogWriter;

/// What is known of a task, for those who ask.
pub struct Running {
    /// What came of it once its container has ended.
    pub ended: watch::Receiver<Answer>,
    /// The same with all that comes after it.
    pub settled: watch::Receiver<Answer>,
    /// Whether the cluster has it.
    pub made: watch::Receiver<Made>,
    /// Cancels it.
    pub cancel: watch::Sender<bool>,
    /// Which phase of preparing is under way.
    pub preparing: watch::Receiver<Option<Phase>>,
    /// What it waits for while it has no place.
    pub waits: watch::Receiver<WaitForRoom>,
    /// Its output.
    pub log: Arc<LogWriter>,
    /// The latest of its workloads.
    pub carried_by: watch::Receiver<Option<(Kind, String)>>,
}

/// The same, for the task's own flow.
pub struct Entry {
    /// Told as soon as its container has ended.
    pub ended: watch::Sender<Answer>,
    /// Told at the very end.
    pub settled: watch::Sender<Answer>,
    /// Told once the cluster has it, or has it not.
    pub made: watch::Sender<Made>,
    /// Whether somebody cancelled it.
    pub cancel: watch::Receiver<bool>,
    /// Tells which phase of preparing is under way.
    pub preparing: watch::Sender<Option<Phase>>,
    /// Tells what it waits for while it has no place.
    pub waits: watch::Sender<WaitForRoom>,
    /// Where its output goes.
    pub log: Arc<LogWriter>,
    /// Told which of its workloads is the latest.
    pub carried_by: watch::Sender<Option<(Kind, String)>>,
}

/// What there is to say of a task.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Nothing yet.
    Pending,
    /// How it ended.
    Outcome(Box<Outcome>),
    /// The cluster knows no such task.
    Absent,
    /// The cluster does not answer.
    Unreachable(Failure),
}

/// Whether the cluster has a task.
#[derive(Clone, Debug)]
pub enum Made {
    /// It is being asked.
    Asking,
    /// It has it, or has refused it for good: what comes of that is its outcome.
    Known,
    /// It has none, and none was to be made.
    Absent,
    /// It did not say.
    Unanswered(NotMade),
}

impl Answer {
    /// An outcome.
    pub fn of(outcome: &Outcome) -> Answer {
        Answer::Outcome(Box::new(outcome.clone()))
    }
}

/// The tasks by their tickets' ids.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<HashMap<String, Running>>>);

impl Book {
    /// A new entry, unless there is one.
    pub fn enter(&self, id: &str) -> Option<Entry> {
        let mut tasks = self.lock();
        if tasks.contains_key(id) {
            return None;
        }
        let (running, entry) = channels();
        tasks.insert(id.to_owned(), running);
        Some(entry)
    }

    /// Something of an entry, where there is one.
    pub fn pick<T>(&self, id: &str, pick: impl FnOnce(&Running) -> T) -> Option<T> {
        self.lock().get(id).map(pick)
    }

    /// Forgets a task.
    pub fn remove(&self, id: &str) -> Option<Running> {
        self.lock().remove(id)
    }

    /// Tells all who ask that nothing is known of a task. The next one who asks has the cluster asked anew: an entry that
    /// has been told so is no task.
    pub fn close(&self, id: &str, entry: Entry, made: Made) {
        let is_own = |running: &Running| Arc::ptr_eq(&running.log, &entry.log);
        let mut tasks = self.lock();
        if tasks.get(id).is_some_and(is_own) {
            tasks.remove(id);
        }
        drop(tasks);
        let answer = match &made {
            Made::Unanswered(not_made) => Answer::Unreachable(not_made.failure().clone()),
            Made::Asking | Made::Known | Made::Absent => Answer::Absent,
        };
        entry.log.close();
        entry.ended.send_replace(answer.clone());
        entry.settled.send_replace(answer);
        entry.made.send_replace(made);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        // The map is whole between its calls, whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn channels() -> (Running, Entry) {
    let (ended_sender, ended) = watch::channel(Answer::Pending);
    let (settled_sender, settled) = watch::channel(Answer::Pending);
    let (made_sender, made) = watch::channel(Made::Asking);
    let (cancel, cancelled) = watch::channel(false);
    let (phase_sender, preparing) = watch::channel(None);
    let (waits_sender, waits) = watch::channel(WaitForRoom::default());
    let (workload_sender, carried_by) = watch::channel(None);
    let log = Arc::new(LogWriter::new());
    let running = Running {
        ended,
        settled,
        made,
        cancel,
        preparing,
        waits,
        log: Arc::clone(&log),
        carried_by,
    };
    let entry = Entry {
        ended: ended_sender,
        settled: settled_sender,
        made: made_sender,
        cancel: cancelled,
        preparing: phase_sender,
        waits: waits_sender,
        log,
        carried_by: workload_sender,
    };
    (running, entry)
}
