//! Output that is being written: how far each running task's output has come, and who waits for more.

use hybrid_cache_api::TaskId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::files::Extent;

/// How far one task's output has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputProgress {
    /// How much of the file may be read.
    pub extent: Extent,
    /// True once nothing more comes.
    pub closed: bool,
}

/// The tasks whose output is written or followed.
#[derive(Clone, Debug, Default)]
pub struct Live {
    tasks: Arc<Mutex<HashMap<TaskId, Arc<watch::Sender<OutputProgress>>>>>,
}

impl Live {
    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<watch::Sender<OutputProgress>>>> {
        // Each call leaves the map consistent, even if another thread panicked.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sender of this task's progress; created if it is missing.
    pub fn enter(&self, id: &TaskId) -> Arc<watch::Sender<OutputProgress>> {
        Arc::clone(self.tasks().entry(id.clone()).or_default())
    }

    /// Announces that nothing more comes of this task. A follower that registers after this gets a new entry, and must
    /// ask the store whether the task has ended before it waits.
    pub fn close(&self, id: &TaskId) {
        if let Some(place) = self.tasks().remove(id) {
            place.send_modify(|progress| progress.closed = true);
        }
    }

    /// Removes an entry that nobody writes to and nobody else follows.
    pub fn leave(&self, id: &TaskId, place: &Arc<watch::Sender<OutputProgress>>) {
        let mut tasks = self.tasks();
        // The map's own reference, and the caller's.
        let unused = Arc::strong_count(place) <= 2;
        if unused && tasks.get(id).is_some_and(|known| Arc::ptr_eq(known, place)) {
            tasks.remove(id);
        }
    }

    /// How far a task's output has come, if it is written or followed.
    pub fn progress(&self, id: &TaskId) -> Option<OutputProgress> {
        self.tasks().get(id).map(|place| *place.borrow())
    }

    /// Tasks that are written or followed.
    pub fn count(&self) -> usize {
        self.tasks().len()
    }
}
