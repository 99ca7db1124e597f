//! Requests whose packages were in the caches lately, so that their tasks need no preparing container.
//!
//! An entry is a hint, never a promise: a warm pod that finds a miss reports it, and the task is submitted again with a
//! preparing container.
//!
//! An entry is trusted for one hour. A warm pod mounts the caches read-only and cannot record that it used them; a
//! preparing container can. So one prepared task an hour keeps the times of use that eviction goes by.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hybrid_cache_model::requirement::PythonOptions;
use hybrid_cache_model::{PythonVersion, Task, Tenant};

use crate::Epoch;

/// Most entries; the oldest are dropped first.
const MAX_REQUESTS: usize = 4096;

/// How long a use may stay unrecorded on the volumes.
const TRUST_PERIOD: Duration = Duration::from_secs(3600);

/// What one task asks of the caches of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheRequest {
    epoch: Epoch,
    pub(in crate::kube) tenant: Tenant,
    pub(in crate::kube) python: Vec<String>,
    pub(in crate::kube) constraints: Vec<String>,
    pub(in crate::kube) version: Option<PythonVersion>,
    pub(in crate::kube) requires_python: String,
    pub(in crate::kube) options: PythonOptions,
    pub(in crate::kube) system: Vec<String>,
}

impl CacheRequest {
    /// What a task asks of a tenant's caches in an epoch.
    pub fn new(epoch: &Epoch, tenant: &Tenant, task: &Task) -> CacheRequest {
        CacheRequest {
            epoch: epoch.clone(),
            tenant: tenant.clone(),
            python: task.requirements.iter().map(ToString::to_string).collect(),
            constraints: task.constraints.iter().map(ToString::to_string).collect(),
            version: task.python.clone(),
            requires_python: task.requires_python.to_string(),
            options: task.options.clone(),
            system: task.system.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Requests that hit or were published, on which volume sets, and when a preparing container last recorded their use there.
#[derive(Debug, Default)]
pub struct RecentHits {
    noted: Mutex<HashMap<CacheRequest, Vec<(usize, Instant)>>>,
}

impl RecentHits {
    /// True if the request last hit on this set, and its use was recorded there less than an hour ago.
    pub fn contains(&self, request: &CacheRequest, set: usize, now: Instant) -> bool {
        let is_fresh = |noted: Instant| now.saturating_duration_since(noted) < TRUST_PERIOD;
        let noted = self.lock();
        let sets = noted.get(request).into_iter().flatten();
        sets.into_iter().any(|(on, noted)| *on == set && is_fresh(*noted))
    }

    /// The sets on which the request last hit, however long ago.
    pub fn sets_of(&self, request: &CacheRequest) -> Vec<usize> {
        let noted = self.lock();
        let sets = noted.get(request).into_iter().flatten();
        sets.map(|(on, _)| *on).collect()
    }

    /// Notes that a preparing container found or published the packages on this set at `now`, and recorded their use.
    pub fn note(&self, request: &CacheRequest, set: usize, now: Instant) {
        let mut noted = self.lock();
        let sets = noted.entry(request.clone()).or_default();
        sets.retain(|(on, _)| *on != set);
        sets.push((set, now));
        if noted.len() > MAX_REQUESTS {
            let latest = |sets: &Vec<(usize, Instant)>| sets.iter().map(|(_, noted)| *noted).max();
            let oldest = noted.iter().min_by_key(|(_, sets)| latest(sets));
            if let Some(oldest) = oldest.map(|(request, _)| request.clone()) {
                noted.remove(&oldest);
            }
        }
    }

    /// A warm pod found it on this set: hits, but this use is not noted.
    pub fn see(&self, request: &CacheRequest, set: usize, now: Instant) {
        if !self.sets_of(request).contains(&set) {
            self.note(request, set, now);
        }
    }

    /// Notes a miss on this set.
    pub fn remove(&self, request: &CacheRequest, set: usize) {
        let mut noted = self.lock();
        if let Some(sets) = noted.get_mut(request) {
            sets.retain(|(on, _)| *on != set);
            if sets.is_empty() {
                noted.remove(request);
            }
        }
    }

    /// Forgets a request on every set.
    pub fn forget(&self, request: &CacheRequest) {
        self.lock().remove(request);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CacheRequest, Vec<(usize, Instant)>>> {
        // A lost entry costs one preparing container, so the map need not be exact after a panic.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hybrid_cache_model::TaskSpec;

    fn request(epoch: &Epoch, dependencies: &str, code: &str) -> CacheRequest {
        let spec = TaskSpec {
            dependencies: dependencies.to_owned(),
            ..TaskSpec::new(code)
        };
        CacheRequest::new(epoch, &Tenant::default(), &spec.check().unwrap())
    }

    #[test]
    fn the_same_packages_are_the_same_request_whatever_the_code_but_not_in_another_epoch() {
        let (hits, now) = (RecentHits::default(), Instant::now());
        hits.note(&request(&Epoch::Standing, "numpy,pandas", "1"), 0, now);
        assert!(hits.contains(&request(&Epoch::Standing, "Pandas, numpy", "2"), 0, now));
        assert!(!hits.contains(&request(&Epoch::Fresh("a".into()), "numpy,pandas", "1"), 0, now));
        hits.remove(&request(&Epoch::Standing, "pandas,numpy", "3"), 0);
        assert!(!hits.contains(&request(&Epoch::Standing, "numpy,pandas", "1"), 0, now));
    }

    #[test]
    fn a_constraint_makes_another_request() {
        let of = |constraints: &str| {
            let spec = TaskSpec {
                dependencies: "numpy".to_owned(),
                constraints: constraints.to_owned(),
                ..TaskSpec::new("1")
            };
            CacheRequest::new(&Epoch::Standing, &Tenant::default(), &spec.check().unwrap())
        };
        assert_eq!(of(""), of("# none"));
        assert_ne!(of(""), of("numpy<2"));
        let spec = TaskSpec {
            dependencies: "numpy".to_owned(),
            python_version: "3.12".to_owned(),
            ..TaskSpec::new("1")
        };
        let other = CacheRequest::new(&Epoch::Standing, &Tenant::default(), &spec.check().unwrap());
        assert_ne!(of(""), other);
    }

    #[test]
    fn a_hit_of_one_tenant_is_not_known_to_another() {
        let (hits, now) = (RecentHits::default(), Instant::now());
        let one = request(&Epoch::Standing, "numpy", "1");
        hits.note(&one, 0, now);
        let other = CacheRequest {
            tenant: "other".parse().unwrap(),
            ..one
        };
        assert!(!hits.contains(&other, 0, now));
    }

    #[test]
    fn a_use_that_a_warm_pod_could_not_record_is_recorded_within_an_hour() {
        let (hits, noted) = (RecentHits::default(), Instant::now());
        let numpy = request(&Epoch::Standing, "numpy", "1");
        hits.note(&numpy, 0, noted);
        let later = noted + TRUST_PERIOD - Duration::from_secs(1);
        hits.see(&numpy, 0, later);
        assert!(hits.contains(&numpy, 0, later));
        assert!(
            !hits.contains(&numpy, 0, noted + TRUST_PERIOD),
            "seeing is not recording"
        );
        hits.note(&numpy, 0, noted + TRUST_PERIOD);
        assert!(hits.contains(&numpy, 0, noted + TRUST_PERIOD));
    }

    #[test]
    fn the_oldest_entry_is_dropped_first() {
        let (hits, begun) = (RecentHits::default(), Instant::now());
        let at = |count: usize| begun + Duration::from_millis(u64::try_from(count).unwrap());
        for count in 0..=MAX_REQUESTS {
            hits.note(&request(&Epoch::Standing, &format!("p{count}"), "1"), 0, at(count));
        }
        assert!(!hits.contains(&request(&Epoch::Standing, "p0", "1"), 0, at(MAX_REQUESTS)));
        assert!(hits.contains(
            &request(&Epoch::Standing, &format!("p{MAX_REQUESTS}"), "1"),
            0,
            at(MAX_REQUESTS)
        ));
        assert_eq!(hits.lock().len(), MAX_REQUESTS);
    }

    #[test]
    fn a_hit_is_known_on_the_set_that_had_it() {
        let (hits, now) = (RecentHits::default(), Instant::now());
        let numpy = request(&Epoch::Standing, "numpy", "1");
        hits.note(&numpy, 1, now);
        assert!(hits.contains(&numpy, 1, now) && !hits.contains(&numpy, 0, now));
        hits.see(&numpy, 0, now);
        assert!(hits.contains(&numpy, 0, now));
        let later = now + TRUST_PERIOD;
        hits.remove(&numpy, 1);
        assert!(!hits.contains(&numpy, 0, later));
        assert_eq!(hits.sets_of(&numpy), [0]);
        hits.forget(&numpy);
        assert!(hits.sets_of(&numpy).is_empty() && hits.lock().is_empty());
    }
}
