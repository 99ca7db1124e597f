//! The wall clock: for the eyes of people, never for the order of things.

use std::time::SystemTime;

use jiff::Timestamp;

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

/// RFC 3339 of a clock's microseconds.
pub(crate) fn timestamp(at_us: i64) -> String {
    Timestamp::from_microsecond(at_us).unwrap_or_default().to_string()
}
