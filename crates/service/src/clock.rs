//! The wall clock: for the eyes of people, never for the order of things.

use std::time::SystemTime;

/// Tells the time of day. Injected, so that a test can let it jump.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970 in UTC. It may jump in either direction.
    fn now_us(&self) -> i64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
