//! Which requests are known to be in the caches, so that their tasks need no preparing container.
//!
//! A hint, never a promise: a warm pod that finds a miss says so, and the task is submitted again with a preparation.
//!
//! It also wears off: a warm pod mounts the caches read-only and cannot note that it used them, a preparing container can.
//! One task in a while with it keeps the times of use right by which eviction goes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hybrid_cache_model::{Task, Tenant};

use crate::Epoch;

/// Requests that are remembered; the oldest are forgotten first.
const MOST: usize = 4096;

/// How long a use may stay unnoted on the volumes.
const NOTED_EVERY: Duration = Duration::from_secs(3600);

/// The environments of one task in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    epoch: Epoch,
    tenant: Tenant,
    python: Vec<String>,
    system: Vec<String>,
}

impl Request {
    /// What this task asks of a tenant's caches in that epoch.
    pub fn new(epoch: &Epoch, tenant: &Tenant, task: &Task) -> Request {
        Request {
            epoch: epoch.clone(),
            tenant: tenant.clone(),
            python: task.requirements.iter().map(ToString::to_string).collect(),
            system: task.system.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The requests that were last seen to hit, or to be published, and when a preparing container last noted their use.
#[derive(Debug, Default)]
pub struct Known {
    noted: Mutex<HashMap<Request, Instant>>,
}

impl Known {
    /// True where the last that was seen of it was a hit, and its use was noted not long ago.
    pub fn contains(&self, request: &Request, now: Instant) -> bool {
        let noted = self.lock().get(request).copied();
        noted.is_some_and(|noted| now.saturating_duration_since(noted) < NOTED_EVERY)
    }

    /// A preparing container found or published it at that time.
    pub fn note(&self, request: &Request, now: Instant) {
        let mut noted = self.lock();
        noted.insert(request.clone(), now);
        if noted.len() > MOST {
            let oldest = noted.iter().min_by_key(|(_, noted)| **noted);
            if let Some(oldest) = oldest.map(|(request, _)| request.clone()) {
                noted.remove(&oldest);
            }
        }
    }

    /// A warm pod found it: known, but this use is not noted.
    pub fn see(&self, request: &Request, now: Instant) {
        if !self.lock().contains_key(request) {
            self.note(request, now);
        }
    }

    /// Notes a miss.
    pub fn remove(&self, request: &Request) {
        self.lock().remove(request);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Request, Instant>> {
        // Forgetting costs a preparing container, no more: it need not be exact.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
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
        Request::new(epoch, &Tenant::default(), &spec.check().unwrap())
    }

    #[test]
    fn the_same_packages_are_the_same_request_whatever_the_code_and_another_epoch_is_not() {
        let (known, now) = (Known::default(), Instant::now());
        known.note(&request(&Epoch::Standing, "numpy,pandas", "1"), now);
        assert!(known.contains(&request(&Epoch::Standing, "Pandas, numpy", "2"), now));
        assert!(!known.contains(&request(&Epoch::Fresh("a".into()), "numpy,pandas", "1"), now));
        known.remove(&request(&Epoch::Standing, "pandas,numpy", "3"));
        assert!(!known.contains(&request(&Epoch::Standing, "numpy,pandas", "1"), now));
    }

    #[test]
    fn what_one_tenant_has_is_not_known_to_another() {
        let (known, now) = (Known::default(), Instant::now());
        let one = request(&Epoch::Standing, "numpy", "1");
        known.note(&one, now);
        let other = Request {
            tenant: "other".parse().unwrap(),
            ..one
        };
        assert!(!known.contains(&other, now));
    }

    #[test]
    fn a_use_that_nobody_could_note_is_noted_in_a_while() {
        let (known, noted) = (Known::default(), Instant::now());
        let numpy = request(&Epoch::Standing, "numpy", "1");
        known.note(&numpy, noted);
        let later = noted + NOTED_EVERY - Duration::from_secs(1);
        known.see(&numpy, later);
        assert!(known.contains(&numpy, later));
        assert!(
            !known.contains(&numpy, noted + NOTED_EVERY),
            "seeing it is not noting it"
        );
        known.note(&numpy, noted + NOTED_EVERY);
        assert!(known.contains(&numpy, noted + NOTED_EVERY));
    }

    #[test]
    fn it_forgets_the_oldest() {
        let (known, begun) = (Known::default(), Instant::now());
        let at = |count: usize| begun + Duration::from_millis(u64::try_from(count).unwrap());
        for count in 0..=MOST {
            known.note(&request(&Epoch::Standing, &format!("p{count}"), "1"), at(count));
        }
        assert!(!known.contains(&request(&Epoch::Standing, "p0", "1"), at(MOST)));
        assert!(known.contains(&request(&Epoch::Standing, &format!("p{MOST}"), "1"), at(MOST)));
        assert_eq!(known.lock().len(), MOST);
    }
}
