//! The wall clock. It is shown to people and never decides the order of things.

use std::time::SystemTime;

use jiff::Timestamp;

/// Reads the time of day. A trait, so that a test can make it jump.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970 in UTC. The value may jump in either direction.
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

/// A clock's microseconds since 1970 as RFC 3339.
pub(crate) fn timestamp(at_us: i64) -> String {
    Timestamp::from_microsecond(at_us).unwrap_or_default().to_string()
}
