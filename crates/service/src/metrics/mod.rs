//! The counters of the service. They are rebuilt from the store when the service starts.

mod histogram;

use hybrid_cache_api::{CacheName, EndName, StateName};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hybrid_cache_model::standby::StandbyStatus;
use hybrid_cache_model::{Outcome, Phase};

pub use histogram::Histogram;

/// All counters at one moment. When the service starts, counts of ended tasks begin with the tasks that are still
/// stored; Prometheus treats that as a reset.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsSnapshot {
    /// Stored tasks, by state.
    pub tasks: Vec<(StateName, u64)>,
    /// Tasks in the queue.
    pub queue_depth: u64,
    /// Most tasks of one tenant in the queue.
    pub queue_limit: u64,
    /// Tasks that the driver has or is about to get.
    pub under_way: u64,
    /// Ended tasks that are still being published or cleaned up.
    pub settling: u64,
    /// Most tasks that run at the same time.
    pub concurrency: u64,
    /// Tasks whose output is written or followed at the moment.
    pub live_outputs: u64,
    /// The driver's name.
    pub driver: &'static str,
    /// False while the driver does not answer.
    pub driver_up: bool,
    /// Ended tasks, by their end.
    pub ended: Vec<(EndName, u64)>,
    /// Answers of the Python cache.
    pub python_cache: Vec<(CacheName, u64)>,
    /// Answers of the system cache.
    pub system_cache: Vec<(CacheName, u64)>,
    /// Microseconds by phase; phases that never occurred are empty.
    pub phases: Vec<(Phase, Histogram)>,
    /// Microseconds from a task's start to its end, as its driver saw it.
    pub total: Histogram,
    /// Microseconds from a submit until the task was on disk; counted by this process only.
    pub submit: Histogram,
    /// Tasks deleted by age, count or size; counted by this process only.
    pub expired: u64,
    /// What the cache volumes held at the last measurement.
    pub volumes: Vec<VolumeGauge>,
    /// What the service itself takes.
    pub footprint: Footprint,
    /// The driver's standby pods; `None` if it has none.
    pub standby: Option<StandbyStatus>,
}

/// Memory and disk that the service itself takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of memory of this process; `None` if the system does not report it.
    pub resident_bytes: Option<u64>,
    /// Bytes of tasks' output on disk.
    pub output_bytes: u64,
    /// Bytes of the database's file.
    pub database_bytes: u64,
    /// Bytes of the database's log and of its index; no budget covers them.
    pub log_bytes: u64,
    /// The budget for output and database together, in bytes; `None` if there is none.
    pub budget_bytes: Option<u64>,
}

/// Bytes of memory of this process (source: proc_pid_status(5), `VmRSS`).
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What one cache volume holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeGauge {
    /// The volume: `python` or `system`.
    pub volume: String,
    /// Bytes.
    pub bytes: u64,
    /// Files and folders.
    pub inodes: u64,
}

/// The running counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub ended: [u64; EndName::ALL.len()],
    pub python_cache: [u64; CacheName::ALL.len()],
    pub system_cache: [u64; CacheName::ALL.len()],
    pub phases: Vec<Histogram>,
    pub total: Histogram,
    pub submit: Histogram,
    pub expired: u64,
    pub volumes: Vec<VolumeGauge>,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            ended: Default::default(),
            python_cache: Default::default(),
            system_cache: Default::default(),
            phases: vec![Histogram::default(); Phase::ALL.len()],
            total: Histogram::default(),
            submit: Histogram::default(),
            expired: 0,
            volumes: Vec::new(),
        }
    }
}

impl Counts {
    fn note(&mut self, outcome: &Outcome) {
        self.ended[EndName::from_end(&outcome.end) as usize] += 1;
        self.python_cache[CacheName::from_status(outcome.cache.python) as usize] += 1;
        self.system_cache[CacheName::from_status(outcome.cache.system) as usize] += 1;
        self.total.note(outcome.timeline.total_us);
        for phase in Phase::ALL {
            let mut spans = outcome
                .timeline
                .spans
                .iter()
                .filter(|span| span.phase == phase)
                .peekable();
            if spans.peek().is_some() {
                let spent_us = spans.map(|span| span.duration_us).sum();
                self.phases[phase as usize].note(spent_us);
            }
        }
    }
}

/// Pairs each name with its count.
pub(crate) fn named<T: Copy, const N: usize>(names: [T; N], counts: [u64; N]) -> Vec<(T, u64)> {
    names.into_iter().zip(counts).collect()
}

impl Metrics {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Each update is complete, even if another thread panicked.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a task's end.
    pub fn note_end(&self, outcome: &Outcome) {
        self.counts().note(outcome);
    }

    /// Counts a submit.
    pub fn note_submit(&self, took: Duration) {
        self.counts()
            .submit
            .note(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts tasks deleted by age or count.
    pub fn note_expired(&self, count: usize) {
        self.counts().expired += count as u64;
    }

    /// Notes what the volumes hold.
    pub fn note_volumes(&self, volumes: Vec<VolumeGauge>) {
        self.counts().volumes = volumes;
    }

    /// Mean microseconds of a task; `None` before the first one has ended.
    pub fn mean_total_us(&self) -> Option<u64> {
        let counts = self.counts();
        counts.total.sum_us().checked_div(counts.total.count())
    }

    /// A copy of all counts.
    pub fn read(&self) -> Counts {
        self.counts().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_memory() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }

    #[test]
    fn every_name_has_its_own_counter() {
        assert!(EndName::ALL.into_iter().enumerate().all(|(at, end)| end as usize == at));
        assert!(
            CacheName::ALL
                .into_iter()
                .enumerate()
                .all(|(at, cache)| cache as usize == at)
        );
        assert!(
            Phase::ALL
                .into_iter()
                .enumerate()
                .all(|(at, phase)| phase as usize == at)
        );
    }
}
