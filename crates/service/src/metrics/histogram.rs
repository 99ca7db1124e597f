//! A histogram with fixed bounds, from a tenth of a millisecond to half an hour.

/// Upper bounds of the buckets in microseconds; one more bucket holds what is above.
const BOUNDS_US: [u64; 20] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
];

/// A histogram of durations with fixed bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Histogram {
    /// Counts one duration in microseconds.
    pub fn note(&mut self, duration_us: u64) {
        let at = BOUNDS_US.partition_point(|bound| *bound < duration_us);
        self.buckets[at] += 1;
        self.sum_us = self.sum_us.saturating_add(duration_us);
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Each upper bound in microseconds with the number of durations up to it, as Prometheus expects. Longer durations
    /// are only in [`Histogram::count`].
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        BOUNDS_US
            .into_iter()
            .zip(self.buckets)
            .scan(0, |below, (bound, count)| {
                *below += count;
                Some((bound, *below))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_at_its_bound_and_above() {
        let mut histogram = Histogram::default();
        for us in [0, 100, 101, u64::MAX] {
            histogram.note(us);
        }
        let cumulative: Vec<_> = histogram.cumulative().collect();
        assert_eq!(cumulative[..2], [(100, 2), (250, 3)]);
        assert_eq!(cumulative.last(), Some(&(1_800_000_000, 3)));
        assert_eq!(histogram.count(), 4);
    }
}
