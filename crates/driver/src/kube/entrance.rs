//! How many tasks stand in the cluster's own queue: a few, so that a place that becomes free is taken at once, and no more,
//! because the scheduler tries each of those in vain at growing intervals. Whoever submits many asks here first.
//!
//! What fits is learned from the pods: one that has a node stands here no more. So nodes need not be looked at, for which a
//! Role of a namespace does not suffice, and places that others take or give back, a quota and a node that is added count
//! as they come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::pulse::{Counted, Pulse};
use crate::Room;

/// Tasks that may stand there at one time.
const MOST: usize = 3;
/// How long one may stand there before nobody comes in behind it any more, if others have overtaken it: a pod that asks for
/// more than the others would wait for as long as smaller ones come. On a slow node all of them stand for that long.
const PATIENT: Duration = Duration::from_secs(10);
/// So many others: the scheduler does not keep the order exactly.
const OVERTAKEN: usize = MOST;

/// Those who have no place yet.
#[derive(Debug, Default)]
pub struct Entrance {
    standing: Mutex<Standing>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Standing {
    next: u64,
    /// How many of them wait for something else than a place.
    aside: usize,
    /// In the order in which they came.
    all: BTreeMap<u64, Stander>,
}

#[derive(Debug)]
struct Stander {
    since: Instant,
    /// Why, as far as the cluster has said.
    why: Option<String>,
    /// How many that came later have a place.
    overtaken: usize,
    /// True once it is in the cluster's queue, or about to be.
    is_submitted: bool,
}

impl Entrance {
    /// Waits until one more may be submitted; the order is that of asking.
    pub async fn room(self: &Arc<Self>) -> Room {
        loop {
            let changed = self.changed.notified();
            if let Some(waiting) = self.try_enter() {
                return Room::held(waiting);
            }
            changed.await;
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Waiting> {
        let mut standing = self.lock();
        let first = standing.all.values().find(|one| one.is_submitted);
        let starves = first.is_some_and(|first| first.overtaken >= OVERTAKEN && first.since.elapsed() >= PATIENT);
        let closed = starves || standing.all.len() >= MOST + standing.aside;
        (!closed).then(|| self.stand(&mut standing, false))
    }

    /// Says that one of those who have room for a submit needs something else first: meanwhile one more may come in.
    pub fn step_aside(self: &Arc<Self>) -> Aside {
        self.lock().aside += 1;
        self.changed.notify_waiters();
        Aside(Arc::clone(self))
    }

    /// Stands here until what is returned is dropped.
    pub fn enter(self: &Arc<Self>) -> Waiting {
        self.stand(&mut self.lock(), true)
    }

    fn stand(self: &Arc<Self>, standing: &mut Standing, is_submitted: bool) -> Waiting {
        let number = standing.next;
        standing.next += 1;
        let stander = Stander {
            since: Instant::now(),
            why: None,
            overtaken: 0,
            is_submitted,
        };
        standing.all.insert(number, stander);
        Waiting {
            entrance: Arc::clone(self),
            number,
        }
    }

    /// Why the first one that stands here has no place, where the cluster has said so.
    pub fn full(&self) -> Option<String> {
        let standing = self.lock();
        let why = standing.all.values().find_map(|one| one.why.as_deref())?;
        Some(format!("no room in the cluster: {why}"))
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // The map is whole between its calls, whatever panicked.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that has stepped aside, until it is dropped.
#[derive(Debug)]
pub struct Aside(Arc<Entrance>);

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.lock().aside -= 1;
    }
}

/// One that has no place yet.
#[derive(Debug)]
pub struct Waiting {
    entrance: Arc<Entrance>,
    number: u64,
}

impl Waiting {
    /// The cluster says why it has none.
    pub fn because(&self, why: &str) {
        if let Some(one) = self.entrance.lock().all.get_mut(&self.number) {
            one.why = Some(why.to_owned());
        }
    }

    /// It has a place: those who came before it and still stand here are overtaken.
    pub fn placed(self) {
        for (_, earlier) in self.entrance.lock().all.range_mut(..self.number) {
            earlier.overtaken += 1;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.entrance.lock().all.remove(&self.number);
        self.entrance.changed.notify_waiters();
    }
}

/// What one task waits for while it has no place, and for how long in all it has waited for room.
#[derive(Clone, Debug, Default)]
pub struct WaitForRoom {
    /// Why its pod has no node yet, for a person.
    pub why: Option<String>,
    /// Waits that are over.
    before: Duration,
    /// The one that goes on.
    since: Option<Counted>,
}

impl WaitForRoom {
    /// Takes in what it waits for now, and whether that is room. Time in which the API server does not answer is not counted.
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

    /// It has a place, or needs none any more.
    pub fn end(&mut self, pulse: &Arc<Pulse>) {
        self.note(None, false, pulse);
    }

    /// How long in all it has waited for room.
    pub fn waited(&self) -> Duration {
        self.before + self.since.as_ref().map(Counted::elapsed).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_may_stand_there_and_the_next_comes_when_one_has_its_place() {
        let entrance = Arc::new(Entrance::default());
        let mut rooms = Vec::new();
        for _ in 0..MOST {
            rooms.push(entrance.room().await);
        }
        let next = tokio::spawn({
            let entrance = Arc::clone(&entrance);
            async move { entrance.room().await }
        });
        tokio::time::sleep(PATIENT * 2).await;
        assert!(!next.is_finished());
        rooms.clear();
        tokio::time::timeout(PATIENT, next).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_wait_for_long_and_in_order_others_come_in() {
        let entrance = Arc::new(Entrance::default());
        let (first, second) = (entrance.enter(), entrance.enter());
        tokio::time::sleep(PATIENT * 3).await;
        drop(tokio::time::timeout(PATIENT, entrance.room()).await.unwrap());
        first.placed();
        drop(tokio::time::timeout(PATIENT, entrance.room()).await.unwrap());
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_need_something_else_first_are_in_nobodys_way() {
        let entrance = Arc::new(Entrance::default());
        let mut rooms = Vec::new();
        let mut aside = Vec::new();
        for _ in 0..MOST {
            rooms.push(entrance.room().await);
            aside.push(entrance.step_aside());
        }
        // Others come by, one after the other and for long.
        for _ in 0..=OVERTAKEN {
            let room = tokio::time::timeout(PATIENT, entrance.room()).await.unwrap();
            let placed = entrance.enter();
            drop(room);
            tokio::time::sleep(PATIENT).await;
            placed.placed();
        }
        aside.clear();
        assert!(tokio::time::timeout(PATIENT, entrance.room()).await.is_err());
        rooms.clear();
        tokio::time::timeout(PATIENT, entrance.room()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_overtakes_one_that_waits_for_long() {
        let entrance = Arc::new(Entrance::default());
        let large = entrance.enter();
        large.because("Insufficient cpu");
        for _ in 0..OVERTAKEN {
            drop(entrance.room().await);
            entrance.enter().placed();
        }
        tokio::time::sleep(PATIENT).await;
        assert_eq!(
            entrance.full().as_deref(),
            Some("no room in the cluster: Insufficient cpu")
        );
        let next = entrance.room();
        tokio::pin!(next);
        assert!(tokio::time::timeout(PATIENT * 10, &mut next).await.is_err());
        drop(large);
        tokio::time::timeout(PATIENT, next).await.unwrap();
        assert_eq!(entrance.full(), None);
    }
}
