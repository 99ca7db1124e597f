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

use crate::Room;

/// Tasks that may stand there at one time.
const MOST: usize = 3;
/// How long one may stand there before nobody comes in behind it any more: a pod that asks for more than the others would
/// wait for as long as smaller ones come.
const PATIENT: Duration = Duration::from_secs(10);

/// Those who have no place yet.
#[derive(Debug, Default)]
pub struct Entrance {
    standing: Mutex<Standing>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Standing {
    next: u64,
    /// Since when each stands here, and why as far as the cluster has said.
    since: BTreeMap<u64, (Instant, Option<String>)>,
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
        let first = standing.since.first_key_value().map(|(_, (since, _))| *since);
        let closed = first.is_some_and(|since| since.elapsed() >= PATIENT) || standing.since.len() >= MOST;
        (!closed).then(|| self.stand(&mut standing))
    }

    /// Stands here until what is returned is dropped.
    pub fn enter(self: &Arc<Self>) -> Waiting {
        self.stand(&mut self.lock())
    }

    fn stand(self: &Arc<Self>, standing: &mut Standing) -> Waiting {
        let number = standing.next;
        standing.next += 1;
        standing.since.insert(number, (Instant::now(), None));
        Waiting {
            entrance: Arc::clone(self),
            number,
        }
    }

    /// Why the first one that stands here has no place, where the cluster has said so.
    pub fn full(&self) -> Option<String> {
        let standing = self.lock();
        let why = standing.since.values().find_map(|(_, why)| why.as_deref())?;
        Some(format!("no room in the cluster: {why}"))
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // The map is whole between its calls, whatever panicked.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some((_, known)) = self.entrance.lock().since.get_mut(&self.number) {
            *known = Some(why.to_owned());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.entrance.lock().since.remove(&self.number);
        self.entrance.changed.notify_waiters();
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
    async fn nobody_overtakes_one_that_waits_for_long() {
        let entrance = Arc::new(Entrance::default());
        let large = entrance.enter();
        drop(entrance.room().await);
        tokio::time::sleep(PATIENT).await;
        large.because("Insufficient cpu");
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
