//! Which requests are known to be in the caches, so that their tasks need no preparing container.
//!
//! A hint, never a promise: a warm pod that finds a miss says so, and the task is submitted again with a preparation.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hybrid_cache_model::Task;

use crate::Epoch;

/// Requests that are remembered; the oldest are forgotten first.
const MOST: usize = 4096;

/// The environments of one task in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    epoch: Epoch,
    python: Vec<String>,
    system: Vec<String>,
}

impl Request {
    /// What this task asks of that epoch's caches.
    pub fn new(epoch: &Epoch, task: &Task) -> Request {
        Request {
            epoch: epoch.clone(),
            python: task.requirements.iter().map(ToString::to_string).collect(),
            system: task.system.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The requests that were last seen to hit, or to be published.
#[derive(Debug, Default)]
pub struct Known {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    set: HashSet<Request>,
    order: VecDeque<Request>,
}

impl Known {
    /// True where the last that was seen of it was a hit.
    pub fn contains(&self, request: &Request) -> bool {
        self.lock().set.contains(request)
    }

    /// Notes a hit.
    pub fn insert(&self, request: &Request) {
        let mut inner = self.lock();
        if !inner.set.insert(request.clone()) {
            return;
        }
        inner.order.push_back(request.clone());
        if inner.order.len() > MOST
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.set.remove(&oldest);
        }
    }

    /// Notes a miss.
    pub fn remove(&self, request: &Request) {
        let mut inner = self.lock();
        inner.set.remove(request);
        inner.order.retain(|known| known != request);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Forgetting costs a preparing container, no more: it need not be exact.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hybrid_cache_model::TaskSpec;

    fn request(epoch: &Epoch, dependencies: &str, code: &str) -> Request {
        let spec = TaskSpec {
            dependencies: dependencies.to_owned(),
            ..TaskSpec::new(code)
        };
        Request::new(epoch, &spec.check().unwrap())
    }

    #[test]
    fn the_same_packages_are_the_same_request_whatever_the_code_and_another_epoch_is_not() {
        let known = Known::default();
        known.insert(&request(&Epoch::Standing, "numpy,pandas", "1"));
        assert!(known.contains(&request(&Epoch::Standing, "Pandas, numpy", "2")));
        assert!(!known.contains(&request(&Epoch::Fresh("a".into()), "numpy,pandas", "1")));
        known.remove(&request(&Epoch::Standing, "pandas,numpy", "3"));
        assert!(!known.contains(&request(&Epoch::Standing, "numpy,pandas", "1")));
    }

    #[test]
    fn it_forgets_the_oldest() {
        let known = Known::default();
        for count in 0..=MOST {
            known.insert(&request(&Epoch::Standing, &format!("p{count}"), "1"));
        }
        assert!(!known.contains(&request(&Epoch::Standing, "p0", "1")));
        assert!(known.contains(&request(&Epoch::Standing, &format!("p{MOST}"), "1")));
        assert_eq!(known.lock().order.len(), MOST);
    }
}
