//! One process's timeline: spans on the monotonic clock since the process began its work.

use std::sync::Mutex;
use std::time::Instant;

use hybrid_cache_model::{Lane, Phase, Timeline};

/// Records spans from any thread of the process.
pub struct Recorder {
    origin: Instant,
    timeline: Mutex<Timeline>,
}

impl Recorder {
    /// Starts the clock. Every span counts from now.
    pub fn start() -> Recorder {
        Recorder {
            origin: Instant::now(),
            timeline: Mutex::new(Timeline::default()),
        }
    }

    /// Runs `work` and records it as one span.
    pub fn span<T>(&self, phase: Phase, lane: Lane, work: impl FnOnce() -> T) -> T {
        let start_us = self.now_us();
        let result = work();
        self.record(phase, lane, start_us);
        result
    }

    /// Records a span from `start_us` until now.
    pub fn record(&self, phase: Phase, lane: Lane, start_us: u64) {
        let duration_us = self.now_us().saturating_sub(start_us);
        lock(&self.timeline).push(phase, lane, start_us, duration_us);
    }

    /// Microseconds since the origin.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A copy of the timeline, ending now.
    pub fn timeline(&self) -> Timeline {
        Timeline {
            total_us: self.now_us(),
            ..lock(&self.timeline).clone()
        }
    }
}

/// Locks a mutex whose content every writer leaves whole, so that a panic elsewhere does no harm.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
