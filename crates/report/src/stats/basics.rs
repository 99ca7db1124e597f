//! What every statistic shares: intervals, levels, and the median of numbers.

use serde::Serialize;

/// Coverage that an interval has at least.
pub const LEVEL: f64 = 0.95;
/// Error that a verdict allows on its side, over all tests of its family together: half of what [`LEVEL`] leaves.
pub const ALPHA: f64 = 0.025;
/// Fewest rounds whose range covers the median with [`LEVEL`]: below, there is no interval and no verdict.
pub const MIN_ROUNDS: usize = 6;

/// An interval for an unknown value, in the unit of that value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// True share of such intervals that hold the true value, 0 to 1: at least [`LEVEL`].
    pub level: f64,
}

impl Interval {
    /// The interval, widened to hold the estimate that stands beside it if that is another statistic of the same rounds.
    pub fn around(self, value: f64) -> Interval {
        Interval {
            low: self.low.min(value),
            high: self.high.max(value),
            ..self
        }
    }
}

/// Median of any values; `None` if there are none.
pub(crate) fn median_of(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    if values.len().is_multiple_of(2) {
        Some(f64::midpoint(values[values.len() / 2 - 1], *upper))
    } else {
        Some(*upper)
    }
}

/// Microseconds as a float: exact up to 285 years.
pub(crate) fn as_f64(us: u64) -> f64 {
    us as f64
}
