//! What is counted: kept along with what happens, and rebuilt from the store when the service starts.

mod histogram;

use hybrid_cache_api::{CacheName, EndName, StateName};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hybrid_cache_model::{Outcome, Phase};

pub use histogram::Histogram;

/// Everything that is counted, at one moment. Counts of what ended go back to what is still kept when the service starts
/// anew; Prometheus takes that for the reset it is.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsSnapshot {
    /// Tasks that are kept, by state.
    pub tasks: Vec<(StateName, u64)>,
    /// Tasks waiting for their turn.
    pub queue_depth: u64,
    /// Most that may wait.
    pub queue_limit: u64,
    /// Tasks that the driver has or is about to get.
    pub under_way: u64,
    /// Tasks that have ended, and whose publishing or cleaning up is still under way.
    pub settling: u64,
    /// Most that run at one time.
    pub concurrency: u64,
    /// Tasks whose output is written or followed at the moment.
    pub live_outputs: u64,
    /// The driver's name.
    pub driver: &'static str,
    /// False while the driver does not answer.
    pub driver_up: bool,
    /// Tasks that ended, by how.
    pub ended: Vec<(EndName, u64)>,
    /// Answers of the Python cache.
    pub python_cache: Vec<(CacheName, u64)>,
    /// Answers of the system cache.
    pub system_cache: Vec<(CacheName, u64)>,
    /// Microseconds by phase; phases that never occurred are empty.
    pub phases: Vec<(Phase, Histogram)>,
    /// Microseconds from a task's start to its end, as its driver saw it.
    pub total: Histogram,
    /// Microseconds that submitting took, until the task was on disk; of this process alone.
    pub submit: Histogram,
    /// Tasks deleted by age, count or size; of this process alone.
    pub expired: u64,
    /// What the cache volumes held when it was last looked.
    pub volumes: Vec<VolumeGauge>,
    /// What the service itself takes.
    pub footprint: Footprint,
}

/// What the service itself takes of memory and disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of memory that this process holds; `None` where the system does not tell.
    pub resident_bytes: Option<u64>,
    /// Bytes of tasks' output on disk.
    pub output_bytes: u64,
    /// Bytes of the database's file.
    pub database_bytes: u64,
    /// Bytes of the database's log and of its index, which are in no budget.
    pub log_bytes: u64,
    /// Bytes that output and database may take together; `None` where there is no budget.
    pub budget_bytes: Option<u64>,
}

/// Bytes of memory that this process holds (source: proc_pid_status(5), `VmRSS`).
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What one cache volume holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeGauge {
    /// Which volume: `python`, `system`.
    pub volume: String,
    /// Bytes.
    pub bytes: u64,
    /// Files and folders.
    pub inodes: u64,
}

/// The counts under way.
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

/// Each of a list's values with its count.
pub(crate) fn named<T: Copy, const N: usize>(names: [T; N], counts: [u64; N]) -> Vec<(T, u64)> {
    names.into_iter().zip(counts).collect()
}

impl Metrics {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Each count is whole whatever panicked.
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
    fn every_name_is_counted_at_its_own_place() {
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
