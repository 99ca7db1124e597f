//! Statistics of small samples: medians with bootstrap intervals, and percentiles if there are enough samples for them.
//!
//! Latencies are skewed and few, so nothing here assumes a normal distribution: the median stands for a group and a
//! percentile bootstrap bounds it. The generator is seeded with a constant: the same samples give the same report.

use serde::Serialize;

/// Resamplings behind every interval. Enough that the second significant digit of an end no longer moves.
pub const RESAMPLES: usize = 4000;
/// Coverage that an interval aims for.
pub const LEVEL: f64 = 0.95;
/// Below this many samples there is no interval and no verdict.
pub const MIN_SAMPLES: usize = 3;
/// From this many samples on, the range of a sample can cover the median with [`LEVEL`]; below, no method can.
pub const FULL_LEVEL_SAMPLES: usize = 6;

/// An interval for an unknown value, in the unit of that value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Share of such intervals that hold the true value, 0 to 1: [`LEVEL`], or less if n is too small for it.
    pub level: f64,
}

/// What a group of durations looks like. All values in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// How many samples.
    pub n: usize,
    /// Median; the mean of the middle two if n is even.
    pub median_us: f64,
    /// Bootstrap interval of the median; absent below [`MIN_SAMPLES`].
    pub interval: Option<Interval>,
    /// 90th percentile, a value that was observed; absent below n = 10.
    pub p90_us: Option<u64>,
    /// 99th percentile, a value that was observed; absent below n = 100.
    pub p99_us: Option<u64>,
    /// Smallest.
    pub min_us: u64,
    /// Largest.
    pub max_us: u64,
}

impl Distribution {
    /// Describes the durations, in any order; `None` if there are none.
    pub fn from_durations(durations_us: &[u64]) -> Option<Distribution> {
        let mut sorted = durations_us.to_vec();
        sorted.sort_unstable();
        let (&min_us, &max_us) = (sorted.first()?, sorted.last()?);
        Some(Distribution {
            n: sorted.len(),
            median_us: median_of_sorted(&sorted),
            interval: median_interval(&sorted),
            p90_us: percentile(&sorted, 90),
            p99_us: percentile(&sorted, 99),
            min_us,
            max_us,
        })
    }
}

/// Median of some durations, in their unit; `None` if there are none.
pub fn median(values: &[u64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    (!sorted.is_empty()).then(|| median_of_sorted(&sorted))
}

/// Position of the sample that stands for the median: the middle one, the lower of the middle two if n is even.
pub fn middle(n: usize) -> usize {
    n.saturating_sub(1) / 2
}

/// Quotient of two medians with its bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Median of the numerator over median of the denominator.
    pub value: f64,
    /// Bootstrap interval, both groups resampled independently; absent if either has less than [`MIN_SAMPLES`].
    pub interval: Option<Interval>,
}

impl Ratio {
    /// `median(numerator) / median(denominator)`; `None` if either is empty or the denominator is 0.
    pub fn from_durations(numerator: &[u64], denominator: &[u64]) -> Option<Ratio> {
        let Estimate { value, interval } = Estimate::ratio(numerator, denominator)?;
        Some(Ratio { value, interval })
    }
}

/// A value made of medians, with its bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The value, from the medians themselves.
    pub value: f64,
    /// Bootstrap interval; absent if a group has less than [`MIN_SAMPLES`].
    pub interval: Option<Interval>,
}

impl Estimate {
    /// The median of some values, in their unit; `None` if there are none.
    pub fn median(values: &[u64]) -> Option<Estimate> {
        let Distribution {
            median_us, interval, ..
        } = Distribution::from_durations(values)?;
        Some(Estimate {
            value: median_us,
            interval,
        })
    }

    /// `median(numerator) / median(denominator)`; `None` if either is empty or the denominator is 0.
    pub fn ratio(numerator: &[u64], denominator: &[u64]) -> Option<Estimate> {
        if median(denominator)? <= 0.0 {
            return None;
        }
        // A denominator of 0 µs is one below the clock's resolution of 1 µs.
        Estimate::combine(numerator, denominator, |top, bottom| top / bottom.max(1.0))
    }

    /// `median(one) - median(other)`, in their unit; `None` if either is empty.
    pub fn difference(one: &[u64], other: &[u64]) -> Option<Estimate> {
        Estimate::combine(one, other, |one, other| one - other)
    }

    /// Any value of two medians; both groups are resampled independently.
    fn combine(one: &[u64], other: &[u64], with: impl Fn(f64, f64) -> f64) -> Option<Estimate> {
        let value = with(median(one)?, median(other)?);
        let fewest = one.len().min(other.len());
        let interval = (fewest >= MIN_SAMPLES).then(|| {
            let mut random = SplitMix64::new();
            let (mut left, mut right) = (Vec::new(), Vec::new());
            let values = (0..RESAMPLES)
                .map(|_| {
                    let other = resampled_median(other, &mut right, &mut random);
                    with(resampled_median(one, &mut left, &mut random), other)
                })
                .collect();
            central(values, attainable_level(fewest))
        });
        Some(Estimate { value, interval })
    }
}

/// Level that an interval of the median of n samples can reach: below [`FULL_LEVEL_SAMPLES`] even the whole range
/// misses the true median whenever all samples fall on one side of it, which happens with probability 2^(1-n).
pub fn attainable_level(n: usize) -> f64 {
    match i32::try_from(n) {
        Ok(n) if n < 6 => (1.0 - 2f64.powi(1 - n)).clamp(0.0, LEVEL),
        _ => LEVEL,
    }
}

/// The percentile by nearest rank, only if at least one sample lies beyond it: n >= 10 for p90, n >= 100 for p99.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let n = sorted.len();
    let rank = (n * percent).div_ceil(100);
    (n * (100 - percent) >= 100).then(|| sorted[rank - 1])
}

fn median_interval(sorted: &[u64]) -> Option<Interval> {
    if sorted.len() < MIN_SAMPLES {
        return None;
    }
    let mut random = SplitMix64::new();
    let mut scratch = Vec::with_capacity(sorted.len());
    let medians = (0..RESAMPLES)
        .map(|_| resampled_median(sorted, &mut scratch, &mut random))
        .collect();
    Some(central(medians, attainable_level(sorted.len())))
}

/// The central 95 % of the resampled values. For n below 6 that is the whole range of the sample, hence `level`.
fn central(mut values: Vec<f64>, level: f64) -> Interval {
    values.sort_unstable_by(f64::total_cmp);
    let tail = RESAMPLES / 40;
    Interval {
        low: values[tail],
        high: values[values.len() - 1 - tail],
        level,
    }
}

fn resampled_median(values: &[u64], scratch: &mut Vec<u64>, random: &mut SplitMix64) -> f64 {
    scratch.clear();
    scratch.extend((0..values.len()).map(|_| values[random.below(values.len())]));
    let upper_at = scratch.len() / 2;
    let even = scratch.len().is_multiple_of(2);
    let (below, upper, _) = scratch.select_nth_unstable(upper_at);
    match below.iter().max() {
        Some(lower) if even => midpoint(*lower, *upper),
        _ => as_f64(*upper),
    }
}

fn median_of_sorted(sorted: &[u64]) -> f64 {
    let upper = sorted[sorted.len() / 2];
    if sorted.len().is_multiple_of(2) {
        midpoint(sorted[sorted.len() / 2 - 1], upper)
    } else {
        as_f64(upper)
    }
}

fn midpoint(low: u64, high: u64) -> f64 {
    (as_f64(low) + as_f64(high)) / 2.0
}

/// Microseconds as a float: exact up to 285 years.
pub(crate) fn as_f64(us: u64) -> f64 {
    us as f64
}

/// Steele, Lea and Flood's SplitMix64: ten lines, no dependency, and good enough to draw indices with.
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new() -> SplitMix64 {
        SplitMix64::seeded(0x6879_6272_6964)
    }

    pub(crate) fn seeded(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An index below `bound`, by multiplication: the bias is below 2^-50 for any sample that fits in memory.
    fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_samples() {
        assert_eq!(median(&[3, 1, 2]), Some(2.0));
        assert_eq!(median(&[4, 1, 2, 3]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!((middle(1), middle(2), middle(3), middle(4)), (0, 0, 1, 1));
    }

    #[test]
    fn percentiles_are_observed_values_and_need_a_sample_beyond_them() {
        let to = |n: u64| (1..=n).collect::<Vec<_>>();
        assert_eq!(Distribution::from_durations(&to(9)).unwrap().p90_us, None);
        assert_eq!(Distribution::from_durations(&to(10)).unwrap().p90_us, Some(9));
        assert_eq!(Distribution::from_durations(&to(99)).unwrap().p99_us, None);
        let hundred = Distribution::from_durations(&to(100)).unwrap();
        assert_eq!((hundred.p90_us, hundred.p99_us), (Some(90), Some(99)));
        assert_eq!((hundred.min_us, hundred.max_us, hundred.median_us), (1, 100, 50.5));
    }

    #[test]
    fn the_interval_of_few_samples_is_their_range_and_says_how_little_it_covers() {
        let three = Distribution::from_durations(&[10, 30, 20]).unwrap().interval.unwrap();
        assert_eq!((three.low, three.high, three.level), (10.0, 30.0, 0.75));
        let five = Distribution::from_durations(&[1, 2, 3, 4, 5])
            .unwrap()
            .interval
            .unwrap();
        assert_eq!((five.low, five.high, five.level), (1.0, 5.0, 0.9375));
        assert_eq!(Distribution::from_durations(&[1, 2]).unwrap().interval, None);
        assert_eq!(attainable_level(FULL_LEVEL_SAMPLES), LEVEL);
    }

    #[test]
    fn the_interval_agrees_with_the_binomial_one() {
        // Order statistics 40 and 61 of 100 bound the median with 96.5 %, 41 and 60 with 94.3 %.
        let hundred: Vec<u64> = (1..=100).map(|rank| rank * 1000).collect();
        let interval = Distribution::from_durations(&hundred).unwrap().interval.unwrap();
        assert!((39_500.0..=42_000.0).contains(&interval.low), "{interval:?}");
        assert!((59_000.0..=61_500.0).contains(&interval.high), "{interval:?}");
    }

    #[test]
    fn the_same_samples_give_the_same_interval_in_any_order() {
        let one = Distribution::from_durations(&[5, 9, 1, 7, 3, 8, 2, 6, 4]);
        let other = Distribution::from_durations(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(one, other);
    }

    #[test]
    fn a_ratio_of_constants_is_exact() {
        let ratio = Ratio::from_durations(&[190, 190, 190], &[10, 10, 10, 10]).unwrap();
        assert_eq!(ratio.value, 19.0);
        assert_eq!(
            ratio.interval.map(|interval| (interval.low, interval.high)),
            Some((19.0, 19.0))
        );
        assert_eq!(Ratio::from_durations(&[1], &[0]), None);
        assert_eq!(Ratio::from_durations(&[1], &[2]).unwrap().interval, None);
    }

    #[test]
    fn a_difference_keeps_its_sign_and_needs_both_groups() {
        let less = Estimate::difference(&[90, 90, 90], &[100, 100, 100]).unwrap();
        assert_eq!(less.value, -10.0);
        assert_eq!(
            less.interval.map(|interval| (interval.low, interval.high)),
            Some((-10.0, -10.0))
        );
        assert_eq!(Estimate::difference(&[], &[1]), None);
        assert_eq!(Estimate::difference(&[3, 3, 3], &[1]).unwrap().interval, None);
    }

    #[test]
    fn a_ratio_lies_within_its_interval() {
        let ratio = Ratio::from_durations(&[900, 1000, 1100, 950], &[95, 105, 100, 99, 98, 130]).unwrap();
        let interval = ratio.interval.unwrap();
        assert!(interval.low <= ratio.value && ratio.value <= interval.high, "{ratio:?}");
        assert_eq!(interval.level, 0.875);
    }
}
