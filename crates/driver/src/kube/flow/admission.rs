//! Limits how many tasks wait in the cluster's own queue. A few may, so that a free place is taken at once. More would not
//! help, because the scheduler retries pending pods at growing intervals. Callers with many tasks ask for room here first.
//!
//! What fits is learned from the pods: a pod with a node no longer waits. So the driver need not read nodes, which a Role
//! of a namespace does not allow, and it notices places that others take or free, a quota, and added nodes as they come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Room;
use crate::kube::api::pulse::{Pulse, TaskClock};

/// Tasks that may wait in the cluster's queue at one time.
const MAX_QUEUED: usize = 3;
/// How long the first task may wait before no other is admitted, if others have overtaken it: a pod that asks for more
/// than the others would otherwise wait for as long as smaller ones come. On a slow node every task waits this long.
const STARVATION_LIMIT: Duration = Duration::from_secs(10);
/// How many others must have overtaken it: the scheduler does not keep the order exactly.
const MAX_OVERTAKEN: usize = MAX_QUEUED;

/// The tasks that have no node yet.
#[derive(Debug, Default)]
pub struct AdmissionQueue {
    state: Mutex<QueueState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    next: u64,
    /// Volume sets; each has pods of its own that may wait.
    sets: usize,
    /// How many of them wait for something other than a node.
    aside: usize,
    /// In the order in which they came.
    queued: BTreeMap<u64, QueuedTask>,
}

#[derive(Debug)]
struct QueuedTask {
    since: Instant,
    /// The place of its volume set.
    set: usize,
    /// Why it has no node, as far as the cluster has said.
    why: Option<String>,
    /// How many later ones of the same set have a node.
    overtaken: usize,
    /// True once it is in the cluster's queue, or about to be.
    is_submitted: bool,
}

impl AdmissionQueue {
    /// A queue for tasks of so many volume sets.
    pub fn for_sets(sets: usize) -> AdmissionQueue {
        let queue = AdmissionQueue::default();
        queue.lock().sets = sets;
        queue
    }

    /// Waits until one more task may be submitted, in the order of the calls.
    pub async fn room(self: &Arc<Self>) -> Room {
        loop {
            let changed = self.changed.notified();
            if let Some(ticket) = self.try_enter() {
                return Room::held(ticket);
            }
            changed.await;
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<QueueTicket> {
        let mut state = self.lock();
        let starves = |one: &QueuedTask| {
            one.is_submitted && one.overtaken >= MAX_OVERTAKEN && one.since.elapsed() >= STARVATION_LIMIT
        };
        let most = MAX_QUEUED * state.sets.max(1) + state.aside;
        let is_full = state.queued.values().any(starves) || state.queued.len() >= most;
        (!is_full).then(|| self.add(&mut state, 0, false))
    }

    /// Says that a task with room needs something else first. Until the returned value is dropped, one more may enter.
    pub fn step_aside(self: &Arc<Self>) -> SteppedAside {
        self.lock().aside += 1;
        self.changed.notify_waiters();
        SteppedAside(Arc::clone(self))
    }

    /// Adds a submitted task of a volume set, until the returned value is dropped.
    pub fn enter(self: &Arc<Self>, set: usize) -> QueueTicket {
        self.add(&mut self.lock(), set, true)
    }

    fn add(self: &Arc<Self>, state: &mut QueueState, set: usize, is_submitted: bool) -> QueueTicket {
        let number = state.next;
        state.next += 1;
        let task = QueuedTask {
            since: Instant::now(),
            set,
            why: None,
            overtaken: 0,
            is_submitted,
        };
        state.queued.insert(number, task);
        QueueTicket {
            admission: Arc::clone(self),
            number,
            set,
        }
    }

    /// Why the first queued task has no node, if the cluster has said so.
    pub fn full(&self) -> Option<String> {
        let state = self.lock();
        let why = state.queued.values().find_map(|one| one.why.as_deref())?;
        Some(format!("no room in the cluster: {why}"))
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // The state is complete between calls, even if one panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that has stepped aside, until this is dropped.
#[derive(Debug)]
pub struct SteppedAside(Arc<AdmissionQueue>);

impl Drop for SteppedAside {
    fn drop(&mut self) {
        self.0.lock().aside -= 1;
    }
}

/// A task that has no node yet.
#[derive(Debug)]
pub struct QueueTicket {
    admission: Arc<AdmissionQueue>,
    number: u64,
    set: usize,
}

impl QueueTicket {
    /// Notes why the task has no node, in the cluster's words.
    pub fn because(&self, why: &str) {
        if let Some(one) = self.admission.lock().queued.get_mut(&self.number) {
            one.why = Some(why.to_owned());
        }
    }

    /// Says that the task has a node. Earlier tasks of its set that still wait have been overtaken.
    pub fn placed(self) {
        for (_, earlier) in self.admission.lock().queued.range_mut(..self.number) {
            earlier.overtaken += usize::from(earlier.set == self.set);
        }
    }
}

impl Drop for QueueTicket {
    fn drop(&mut self) {
        self.admission.lock().queued.remove(&self.number);
        self.admission.changed.notify_waiters();
    }
}

/// What one task waits for while it has no node, and how long in all it has waited for room.
#[derive(Clone, Debug, Default)]
pub struct WaitForRoom {
    /// Why its pod has no node yet, for a person.
    pub why: Option<String>,
    /// The waits that are over, together.
    before: Duration,
    /// The wait that goes on.
    since: Option<TaskClock>,
}

impl WaitForRoom {
    /// Notes what the task waits for now, and whether that is room. An outage of the API server does not count.
    pub fn note(&mut self, why: Option<String>, for_room: bool, pulse: &Arc<Pulse>) {
        self.why = why;
        match (for_room, &self.since) {
            (true, None) => self.since = Some(pulse.begin()),
            (false, Some(since)) => {
                self.before += since.elapsed();
                self.since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Ends the wait: the task has a node, or no longer needs one.
    pub fn end(&mut self, pulse: &Arc<Pulse>) {
        self.note(None, false, pulse);
    }

    /// How long in all the task has waited for room.
    pub fn waited(&self) -> Duration {
        self.before + self.since.as_ref().map(TaskClock::elapsed).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_tasks_may_wait_and_the_next_enters_when_one_has_its_node() {
        let admission = Arc::new(AdmissionQueue::default());
        let mut rooms = Vec::new();
        for _ in 0..MAX_QUEUED {
            rooms.push(admission.room().await);
        }
        let next = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.room().await }
        });
        tokio::time::sleep(STARVATION_LIMIT * 2).await;
        assert!(!next.is_finished());
        rooms.clear();
        tokio::time::timeout(STARVATION_LIMIT, next).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn if_all_wait_long_and_in_order_others_may_enter() {
        let admission = Arc::new(AdmissionQueue::default());
        let (first, second) = (admission.enter(0), admission.enter(0));
        tokio::time::sleep(STARVATION_LIMIT * 3).await;
        drop(tokio::time::timeout(STARVATION_LIMIT, admission.room()).await.unwrap());
        first.placed();
        drop(tokio::time::timeout(STARVATION_LIMIT, admission.room()).await.unwrap());
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_step_aside_block_nobody() {
        let admission = Arc::new(AdmissionQueue::default());
        let mut rooms = Vec::new();
        let mut aside = Vec::new();
        for _ in 0..MAX_QUEUED {
            rooms.push(admission.room().await);
            aside.push(admission.step_aside());
        }
        // Others pass, one after the other, for a long time.
        for _ in 0..=MAX_OVERTAKEN {
            let room = tokio::time::timeout(STARVATION_LIMIT, admission.room()).await.unwrap();
            let placed = admission.enter(0);
            drop(room);
            tokio::time::sleep(STARVATION_LIMIT).await;
            placed.placed();
        }
        aside.clear();
        assert!(tokio::time::timeout(STARVATION_LIMIT, admission.room()).await.is_err());
        rooms.clear();
        tokio::time::timeout(STARVATION_LIMIT, admission.room()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_overtakes_a_task_that_waits_long() {
        let admission = Arc::new(AdmissionQueue::default());
        let large = admission.enter(0);
        large.because("Insufficient cpu");
        for _ in 0..MAX_OVERTAKEN {
            drop(admission.room().await);
            admission.enter(0).placed();
        }
        tokio::time::sleep(STARVATION_LIMIT).await;
        assert_eq!(
            admission.full().as_deref(),
            Some("no room in the cluster: Insufficient cpu")
        );
        let next = admission.room();
        tokio::pin!(next);
        assert!(tokio::time::timeout(STARVATION_LIMIT * 10, &mut next).await.is_err());
        drop(large);
        tokio::time::timeout(STARVATION_LIMIT, next).await.unwrap();
        assert_eq!(admission.full(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_on_one_set_is_not_overtaken_by_tasks_of_another() {
        let admission = Arc::new(AdmissionQueue::for_sets(2));
        let full = admission.enter(0);
        for _ in 0..=MAX_OVERTAKEN {
            drop(admission.room().await);
            admission.enter(1).placed();
        }
        tokio::time::sleep(STARVATION_LIMIT).await;
        let mut rooms = Vec::new();
        for _ in 1..2 * MAX_QUEUED {
            rooms.push(tokio::time::timeout(STARVATION_LIMIT, admission.room()).await.unwrap());
        }
        assert!(tokio::time::timeout(STARVATION_LIMIT, admission.room()).await.is_err());
        drop(full);
        tokio::time::timeout(STARVATION_LIMIT, admission.room()).await.unwrap();
    }
}
