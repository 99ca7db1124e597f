//! Durations as the protocol states them.

use std::time::Duration;

/// Whole microseconds of a duration; `u64::MAX` if it is longer than that.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
