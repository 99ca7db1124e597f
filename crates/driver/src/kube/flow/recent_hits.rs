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
    tenant: Tenant,
    python: Vec<String>,
    constraints: Vec<String>,
    version: Option<PythonVersion>,
    requires_python: String,
    options: PythonOptions,
    system: Vec<String>,
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

/// Requests that hit or were published, and when a preparing container last recorded their use.
#[derive(Debug, Default)]
pub struct RecentHits {
    noted: Mutex<HashMap<CacheRequest, Instant>>,
}

impl RecentHits {
    /// True if the request last hit, and its use was recorded less than an hour ago.
    pub fn contains(&self, request: &CacheRequest, now: Instant) -> bool {
        let noted = self.lock().get(request).copied();
        noted.is_some_and(|noted| now.saturating_duration_since(noted) < TRUST_PERIOD)
    }

    /// Notes that a preparing container found or published the packages at `now`, and recorded their use.
    pub fn note(&self, request: &CacheRequest, now: Instant) {
        let mut noted = self.lock();
        noted.insert(request.clone(), now);
        if noted.len() > MAX_REQUESTS {
            let oldest = noted.iter().min_by_key(|(_, noted)| **noted);
            if let Some(oldest) = oldest.map(|(request, _)| request.clone()) {
                noted.remove(&oldest);
            }
        }
    }

    /// A warm pod found it: hits, but this use is not noted.
    pub fn see(&self, request: &CacheRequest, now: Instant) {
        if !self.lock().contains_key(request) {
            self.note(request, now);
        }
    }

    /// Notes a miss.
    pub fn remove(&self, request: &CacheRequest) {
        self.lock().remove(request);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CacheRequest, Instant>> {
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
        hits.note(&request(&Epoch::Standing, "numpy,pandas", "1"), now);
        assert!(hits.contains(&request(&Epoch::Standing, "Pandas, numpy", "2"), now));
        assert!(!hits.contains(&request(&Epoch::Fresh("a".into()), "numpy,pandas", "1"), now));
        hits.remove(&request(&Epoch::Standing, "pandas,numpy", "3"));
        assert!(!hits.contains(&request(&Epoch::Standing, "numpy,pandas", "1"), now));
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
        hits.note(&one, now);
        let other = CacheRequest {
            tenant: "other".parse().unwrap(),
            ..one
        };
        assert!(!hits.contains(&other, now));
    }

    #[test]
    fn a_use_that_a_warm_pod_could_not_record_is_recorded_within_an_hour() {
        let (hits, noted) = (RecentHits::default(), Instant::now());
        let numpy = request(&Epoch::Standing, "numpy", "1");
        hits.note(&numpy, noted);
        let later = noted + TRUST_PERIOD - Duration::from_secs(1);
        hits.see(&numpy, later);
        assert!(hits.contains(&numpy, later));
        assert!(!hits.contains(&numpy, noted + TRUST_PERIOD), "seeing is not recording");
        hits.note(&numpy, noted + TRUST_PERIOD);
        assert!(hits.contains(&numpy, noted + TRUST_PERIOD));
    }

    #[test]
    fn the_oldest_entry_is_dropped_first() {
        let (hits, begun) = (RecentHits::default(), Instant::now());
        let at = |count: usize| begun + Duration::from_millis(u64::try_from(count).unwrap());
        for count in 0..=MAX_REQUESTS {
            hits.note(&request(&Epoch::Standing, &format!("p{count}"), "1"), at(count));
        }
        assert!(!hits.contains(&request(&Epoch::Standing, "p0", "1"), at(MAX_REQUESTS)));
        assert!(hits.contains(
            &request(&Epoch::Standing, &format!("p{MAX_REQUESTS}"), "1"),
            at(MAX_REQUESTS)
        ));
        assert_eq!(hits.lock().len(), MAX_REQUESTS);
    }
}
