//! The standby pods as the watch shows them, and how many each pool should have. Pure but for its lock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hybrid_cache_model::standby::{StandbyCounts, StandbyStatus};
use hybrid_cache_model::{Failure, FailureKind};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::Notify;

use crate::kube::names;
use crate::kube::standby::range::StandbyRange;
use crate::kube::standby::set::PoolKey;

/// Arrivals that are remembered, by time and by number.
const ARRIVALS_PERIOD: Duration = Duration::from_secs(60);
const MAX_ARRIVALS: usize = 4096;
/// How long Kubernetes takes to replace a pod, generously: a pool has room for the arrivals of this time.
const REPLACE_TIME: Duration = Duration::from_secs(2);
/// After a pool was made smaller: how long nothing is claimed from it, because Kubernetes chooses which pods to delete.
const SHRINK_PAUSE: Duration = Duration::from_secs(3);
/// How long nothing is claimed after the cluster has refused a claim or a connection.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// How long a pool stays that nobody asks for, unless it is kept.
const UNUSED_PERIOD: Duration = Duration::from_secs(3600);
/// Most pools of one driver. The tasks of further tenants run as Jobs.
const MAX_POOLS: usize = 32;

/// The pools of one driver, and all standby pods of its namespace.
#[derive(Default)]
pub struct StandbyPools {
    state: Mutex<PoolState>,
    /// Wakes the keeper.
    pub changed: Notify,
    /// Wakes whoever waits for a full pool.
    seen: Notify,
}

#[derive(Default)]
struct PoolState {
    pools: HashMap<PoolKey, Pool>,
    pods: HashMap<String, SeenPod>,
    /// True once a complete listing has been seen.
    is_listed: bool,
    counts: StandbyCounts,
    /// Why there may be fewer pods than wanted.
    trouble: Option<String>,
    /// Why pods are not used, since the last one that was.
    unused: Option<String>,
    /// Until when no pod is claimed: the cluster does not allow it.
    refused_until: Option<Instant>,
}

struct Pool {
    name: String,
    range: StandbyRange,
    /// Pods that its ReplicaSet should have.
    wanted: u32,
    arrivals: VecDeque<Instant>,
    asked: Instant,
    /// It stays however long nobody asks for it.
    is_kept: bool,
    /// Since when it lacks pods; `None` while it is full.
    short_since: Option<Instant>,
    paused_until: Option<Instant>,
}

/// One standby pod, as last shown.
struct SeenPod {
    place: Place,
    version: String,
    created: Option<Timestamp>,
    is_ready: bool,
    /// Its container has ended or was started again, so it will never take a task.
    is_dead: bool,
    /// This driver is claiming it.
    is_taken: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Idle { pool: String },
    Claimed { until_s: i64 },
}

/// A pod that may be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// The version of it that was seen.
    pub version: String,
    /// Its pool's name.
    pub pool: String,
}

/// What a ReplicaSet should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPool {
    /// Whose caches its pods mount.
    pub key: PoolKey,
    /// Its name.
    pub name: String,
    /// How many pods it has.
    pub replicas: u32,
    /// For how long it has lacked pods; `None` while it is full.
    pub short_for: Option<Duration>,
}

impl StandbyPools {
    /// Begins a pool, or finds the one that exists. False if there are too many. `is_kept` keeps it however long nobody asks for it.
    pub fn ensure(&self, key: &PoolKey, name: &str, range: StandbyRange, is_kept: bool) -> bool {
        let mut state = self.lock();
        if !state.pools.contains_key(key) && state.pools.len() >= MAX_POOLS {
            return false;
        }
        let now = Instant::now();
        let pool = state.pools.entry(key.clone()).or_insert_with(|| Pool {
            name: name.to_owned(),
            range,
            wanted: range.min(),
            arrivals: VecDeque::new(),
            asked: now,
            is_kept,
            short_since: Some(now),
            paused_until: None,
        });
        pool.is_kept |= is_kept;
        drop(state);
        self.changed.notify_one();
        true
    }

    /// True if there is such a pool.
    pub fn has(&self, key: &PoolKey) -> bool {
        self.lock().pools.contains_key(key)
    }

    /// Ends all pools for which `is_over` holds, and returns their names.
    pub fn remove_if(&self, is_over: impl Fn(&PoolKey) -> bool) -> Vec<String> {
        let mut state = self.lock();
        let removed = state.pools.extract_if(|key, _| is_over(key));
        removed.map(|(_, pool)| pool.name).collect()
    }

    /// Applies what a watch showed of any pod.
    pub fn see(&self, pod: &Pod) {
        let Some(name) = pod.metadata.name.clone() else { return };
        let mut state = self.lock();
        match SeenPod::from_pod(pod) {
            Some(mut seen) => {
                // A claim names the version that it saw, so a newer one is free for another try.
                let same = |known: &SeenPod| known.is_taken && known.version == seen.version;
                seen.is_taken = state.pods.get(&name).is_some_and(same);
                state.pods.insert(name, seen);
            }
            None => {
                state.pods.remove(&name);
            }
        }
        state.note_shortage(Instant::now());
        drop(state);
        self.seen.notify_waiters();
    }

    /// Notes that a pod is gone.
    pub fn gone(&self, name: &str) {
        let mut state = self.lock();
        state.pods.remove(name);
        state.note_shortage(Instant::now());
    }

    /// Forgets all pods but these: a complete listing does not have the others.
    pub fn keep_only(&self, names: &HashSet<String>) {
        let mut state = self.lock();
        state.pods.retain(|name, _| names.contains(name));
        state.is_listed = true;
    }

    /// Takes a pod for a task that arrives. `None` if none is free.
    pub fn take(&self, key: &PoolKey) -> Option<Candidate> {
        let mut state = self.lock();
        let now = Instant::now();
        let pool = state.pools.get_mut(key)?;
        pool.arrive(now);
        let (paused_until, name) = (pool.paused_until, pool.name.clone());
        let is_paused = [paused_until, state.refused_until]
            .into_iter()
            .flatten()
            .any(|until| now < until);
        let candidate = if is_paused { None } else { state.reserve(&name) };
        state.note_shortage(now);
        drop(state);
        self.changed.notify_one();
        candidate
    }

    /// Takes another pod of the same pool, because another driver was faster.
    pub fn take_another(&self, pool: &str) -> Option<Candidate> {
        self.lock().reserve(pool)
    }

    /// Notes that a pod has run its task. `is_prepared` says whether its pool prepares interpreters.
    pub fn note_used(&self, is_prepared: bool) {
        let mut state = self.lock();
        state.counts.used += 1;
        state.counts.prepared += u64::from(is_prepared);
        state.unused = None;
    }

    /// Notes why a claimed pod has not begun its task.
    pub fn note_not_begun(&self, why: String) {
        let mut state = self.lock();
        state.counts.not_begun += 1;
        state.unused = Some(why);
    }

    /// Notes that the cluster does not allow claims or connections. For a minute, none is tried: each would cost a pod.
    pub fn note_refused(&self, why: String) {
        let mut state = self.lock();
        state.unused = Some(why);
        state.refused_until = Some(Instant::now() + REFUSED_PAUSE);
    }

    /// Counts something of a task.
    pub fn count(&self, change: impl FnOnce(&mut StandbyCounts)) {
        change(&mut self.lock().counts);
    }

    /// Notes why there may be fewer pods than wanted; `None` if nothing is known.
    pub fn set_trouble(&self, trouble: Option<String>) {
        self.lock().trouble = trouble;
    }

    /// The pools as they should be now, and the names of those that are over.
    pub fn plan(&self, now: Instant) -> (Vec<WantedPool>, Vec<String>) {
        let mut state = self.lock();
        let unused = |pool: &Pool| !pool.is_kept && now.saturating_duration_since(pool.asked) > UNUSED_PERIOD;
        let over = state
            .pools
            .extract_if(|_, pool| unused(pool))
            .map(|(_, pool)| pool.name)
            .collect();
        let wanted = state.pools.iter_mut().map(|(key, pool)| {
            pool.adapt(now);
            WantedPool {
                key: key.clone(),
                name: pool.name.clone(),
                replicas: pool.wanted,
                short_for: pool.short_since.map(|since| now.saturating_duration_since(since)),
            }
        });
        (wanted.collect(), over)
    }

    /// Pods that should be deleted: dead ones, and claimed ones whose time is over.
    pub fn expired(&self, now: Timestamp) -> Vec<String> {
        let state = self.lock();
        let is_over = |pod: &SeenPod| match pod.place {
            Place::Idle { .. } => pod.is_dead && !pod.is_taken,
            Place::Claimed { until_s } => until_s < now.as_second(),
        };
        let expired = state.pods.iter().filter(|(_, pod)| is_over(pod));
        expired.map(|(name, _)| name.clone()).collect()
    }

    /// Waits until a pool is full.
    ///
    /// # Errors
    /// It is not within `limit`; the failure says how many pods are ready, and why if that is known.
    pub async fn wait_until_full(&self, key: &PoolKey, limit: Duration) -> Result<(), Failure> {
        let full = async {
            loop {
                let mut seen = std::pin::pin!(self.seen.notified());
                seen.as_mut().enable();
                if self.lock().is_full(key) {
                    return;
                }
                seen.await;
            }
        };
        if tokio::time::timeout(limit, full).await.is_ok() {
            return Ok(());
        }
        let state = self.lock();
        let pool = state.pools.get(key);
        let (ready, wanted) = pool.map_or((0, 0), |pool| (state.ready(&pool.name), pool.wanted));
        let why = state.trouble.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let message = format!(
            "{ready} of {wanted} standby pods are ready after {} s{why}",
            limit.as_secs()
        );
        Err(Failure::new(FailureKind::Unschedulable, message)
            .hint("`kubectl get pods -l app.kubernetes.io/component=standby` shows them; ask for fewer, or make room for them"))
    }

    /// False if the watch has shown all pods, and none that carries a task.
    pub fn may_have_claimed(&self) -> bool {
        let state = self.lock();
        !state.is_listed
            || state
                .pods
                .values()
                .any(|pod| matches!(pod.place, Place::Claimed { .. }))
    }

    /// Figures for a person and for metrics.
    pub fn status(&self, now: Timestamp) -> StandbyStatus {
        let state = self.lock();
        let mut status = StandbyStatus {
            wanted: state.pools.values().map(|pool| pool.wanted).sum(),
            counts: state.counts.clone(),
            trouble: state.unused.clone().or(state.trouble.clone()),
            ..StandbyStatus::default()
        };
        let names: HashSet<&String> = state.pools.values().map(|pool| &pool.name).collect();
        for pod in state.pods.values() {
            match &pod.place {
                Place::Claimed { .. } => status.claimed += 1,
                Place::Idle { pool } if !names.contains(pool) => status.foreign += 1,
                Place::Idle { .. } if pod.is_ready => {
                    status.ready += 1;
                    let age = pod.created.map(|created| now.duration_since(created).as_secs());
                    status.oldest_s = status.oldest_s.max(age.and_then(|age| u64::try_from(age).ok()));
                }
                Place::Idle { .. } => status.starting += 1,
            }
        }
        status
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // The state is complete between calls, even if one panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    /// Takes any ready pod of a pool. By chance, because several drivers that prefer the same one would compete for it.
    fn reserve(&mut self, pool: &str) -> Option<Candidate> {
        let is_free = |pod: &SeenPod| {
            let is_here = matches!(&pod.place, Place::Idle { pool: of } if of == pool);
            is_here && pod.is_ready && !pod.is_taken && !pod.is_dead
        };
        let free = self.pods.iter_mut().filter(|(_, pod)| is_free(pod));
        let chance = RandomState::new();
        let (name, pod) = free.min_by_key(|(name, _)| chance.hash_one(name))?;
        pod.is_taken = true;
        Some(Candidate {
            name: name.clone(),
            version: pod.version.clone(),
            pool: pool.to_owned(),
        })
    }

    fn ready(&self, pool: &str) -> usize {
        let is_ready = |pod: &&SeenPod| {
            let is_here = matches!(&pod.place, Place::Idle { pool: of } if of == pool);
            is_here && pod.is_ready && !pod.is_taken && !pod.is_dead
        };
        self.pods.values().filter(is_ready).count()
    }

    fn is_full(&self, key: &PoolKey) -> bool {
        let Some(pool) = self.pools.get(key) else { return false };
        self.ready(&pool.name) >= usize::try_from(pool.wanted).unwrap_or(usize::MAX)
    }

    /// Notes which pools lack pods, and how long one lacked them that is full again.
    fn note_shortage(&mut self, now: Instant) {
        let keys: Vec<PoolKey> = self.pools.keys().cloned().collect();
        for key in keys {
            let is_full = self.is_full(&key);
            let Some(pool) = self.pools.get_mut(&key) else { continue };
            match (is_full, pool.short_since) {
                (true, Some(since)) => {
                    pool.short_since = None;
                    let short = now.saturating_duration_since(since);
                    self.counts
                        .note_refill(u64::try_from(short.as_millis()).unwrap_or(u64::MAX));
                }
                (false, None) => pool.short_since = Some(now),
                (true, None) | (false, Some(_)) => {}
            }
        }
    }
}

impl Pool {
    fn arrive(&mut self, now: Instant) {
        self.asked = now;
        self.arrivals.push_back(now);
        if self.arrivals.len() > MAX_ARRIVALS {
            self.arrivals.pop_front();
        }
    }

    /// Follows the arrivals: room for the most that came within the time of a replacement, and one more. It grows at once, and
    /// shrinks when those arrivals are a minute ago.
    fn adapt(&mut self, now: Instant) {
        let old = |at: &Instant| now.saturating_duration_since(*at) > ARRIVALS_PERIOD;
        while self.arrivals.front().is_some_and(old) {
            self.arrivals.pop_front();
        }
        let mut most = 0;
        let mut first = 0;
        for (last, at) in self.arrivals.iter().enumerate() {
            while at.saturating_duration_since(self.arrivals[first]) > REPLACE_TIME {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        let needed = if most == 0 { 0 } else { most + 1 };
        let wanted = self.range.nearest(u32::try_from(needed).unwrap_or(u32::MAX));
        if wanted < self.wanted {
            self.paused_until = Some(now + SHRINK_PAUSE);
        }
        self.wanted = wanted;
    }
}

impl SeenPod {
    /// Reads a pod; `None` if it is no standby pod, or is being deleted.
    fn from_pod(pod: &Pod) -> Option<SeenPod> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let place = match names::standby_pool(pod) {
            Some(pool) => Place::Idle { pool: pool.clone() },
            None => Place::Claimed {
                until_s: names::claimed_until(pod)?,
            },
        };
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let container = status.and_then(|status| status.container_statuses.as_ref()?.first());
        let is_ready = container.is_some_and(|container| container.ready);
        let was_restarted = container.is_some_and(|container| container.restart_count > 0);
        Some(SeenPod {
            place,
            version: pod.metadata.resource_version.clone().unwrap_or_default(),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            is_ready: is_ready && phase == "Running" && !was_restarted,
            is_dead: was_restarted || matches!(phase, "Failed" | "Succeeded"),
            is_taken: false,
        })
    }
}

#[cfg(test)]
mod tests;
