//! Statistics of few samples that resemble their neighbours: exact intervals and tests over whole rounds.
//!
//! Latencies are skewed, few, and not independent within a round. So a round counts once, nothing assumes a normal distribution,
//! and what was measured side by side is compared pair by pair. `docs/method.md` gives the reasons and the error rates.

mod basics;
mod bootstrap;
mod evidence;
mod family;
mod order;
mod random;
mod rank_sum;
mod signed_rank;
mod two_runs;
#[cfg(test)]
mod vectors;

use serde::Serialize;

pub(crate) use basics::as_f64;
pub use basics::{ALPHA, Interval, LEVEL, MIN_ROUNDS};
pub use evidence::{Evidence, Rule, Scale};
pub use family::holm;
pub use random::SplitMix64;
pub use two_runs::TwoRuns;

/// What a group of durations looks like. All values in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// How many samples.
    pub n: usize,
    /// In how many rounds.
    pub rounds: usize,
    /// Median; the mean of the middle two if n is even.
    pub median_us: f64,
    /// Order-statistic interval of the median over the medians of the rounds; absent below [`MIN_ROUNDS`].
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
    /// Describes durations that each name their round, in any order; `None` if there are none.
    pub fn from_rounds(durations_us: &[(u32, u64)]) -> Option<Distribution> {
        Distribution::with_evidence(durations_us, &durations(durations_us))
    }

    /// The same, with evidence of the same durations.
    pub(crate) fn with_evidence(durations_us: &[(u32, u64)], evidence: &Evidence) -> Option<Distribution> {
        let mut sorted: Vec<u64> = durations_us.iter().map(|(_, us)| *us).collect();
        sorted.sort_unstable();
        let (&min_us, &max_us) = (sorted.first()?, sorted.last()?);
        let median_us = median_of_sorted(&sorted);
        Some(Distribution {
            n: sorted.len(),
            rounds: evidence.rounds(),
            median_us,
            interval: evidence.interval().map(|interval| interval.around(median_us)),
            p90_us: percentile(&sorted, 90),
            p99_us: percentile(&sorted, 99),
            min_us,
            max_us,
        })
    }
}

/// What durations of one group show about their median.
pub fn durations(durations_us: &[(u32, u64)]) -> Evidence {
    let values: Vec<(u32, f64)> = durations_us.iter().map(|(round, us)| (*round, as_f64(*us))).collect();
    Evidence::new(&values, Scale::Ratio, Rule::Order)
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

/// A value with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Its interval; absent if there are too few rounds.
    pub interval: Option<Interval>,
    /// Independent rounds behind the interval.
    pub rounds: usize,
}

impl Estimate {
    /// What the evidence gives; `None` if there is none.
    pub fn of(evidence: &Evidence) -> Option<Estimate> {
        let value = evidence.value()?;
        Some(Estimate {
            value,
            interval: evidence.interval(),
            rounds: evidence.rounds(),
        })
    }
}

/// One test of a family, after Holm's correction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// One-sided p of the side on which the samples lie, by itself.
    pub p: f64,
    /// The same, corrected for the whole family; a verdict needs at most [`ALPHA`].
    pub adjusted: f64,
    /// Tests in the family.
    pub tests: usize,
    /// See [`Evidence::smallest_effect`].
    pub smallest_effect: Option<f64>,
}

impl Decision {
    /// A test by itself.
    pub(crate) fn alone(p: f64) -> Decision {
        Decision {
            p,
            adjusted: p,
            tests: 1,
            smallest_effect: None,
        }
    }

    /// The same test as one of a family, with the p that the family's correction leaves.
    pub(crate) fn corrected(self, adjusted: f64, tests: usize, evidence: &Evidence) -> Decision {
        Decision {
            p: self.p,
            adjusted,
            tests,
            smallest_effect: evidence.smallest_effect(tests),
        }
    }

    /// True if the test decides, with all the others of its family.
    pub fn is_proven(&self) -> bool {
        self.adjusted <= ALPHA
    }

    /// Why this many rounds could not decide anything, whatever they held; `None` if they could.
    pub(crate) fn too_few(&self, rounds: usize) -> Option<String> {
        let needed = rounds_needed(self.tests);
        let together = match self.tests {
            tests if rounds >= MIN_ROUNDS => format!(" as one of {tests} tests"),
            _ => String::new(),
        };
        let least = if rounds < MIN_ROUNDS { MIN_ROUNDS } else { needed };
        (rounds < least).then(|| format!("too few rounds: {rounds}, at least {least} are needed{together}"))
    }
}

/// Rounds from which a test can decide as one of `tests`: an exact p is never below 2^-rounds.
pub fn rounds_needed(tests: usize) -> usize {
    let able = |rounds: &usize| 0.5f64.powi(i32::try_from(*rounds).unwrap_or(i32::MAX)) * tests as f64 <= ALPHA;
    (MIN_ROUNDS..64).find(able).unwrap_or(64)
}

/// The percentile by nearest rank, only if at least one sample lies beyond it: n >= 10 for p90, n >= 100 for p99.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let n = sorted.len();
    let rank = (n * percent).div_ceil(100);
    (n * (100 - percent) >= 100).then(|| sorted[rank - 1])
}

fn median_of_sorted(sorted: &[u64]) -> f64 {
    let upper = as_f64(sorted[sorted.len() / 2]);
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(as_f64(sorted[sorted.len() / 2 - 1]), upper)
    } else {
        upper
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One value in each round.
    fn apart(values: impl IntoIterator<Item = u64>) -> Vec<(u32, u64)> {
        (0..).zip(values).collect()
    }

    fn interval(values: impl IntoIterator<Item = u64>) -> Option<Interval> {
        Distribution::from_rounds(&apart(values)).unwrap().interval
    }

    #[test]
    fn medians_of_odd_and_even_samples() {
        assert_eq!(median(&[3, 1, 2]), Some(2.0));
        assert_eq!(median(&[4, 1, 2, 3]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!((middle(1), middle(2), middle(3), middle(4)), (0, 0, 1, 1));
    }

    #[test]
    fn percentiles_are_observed_values_and_need_a_sample_beyond_them() {
        let to = |n: u64| Distribution::from_rounds(&apart(1..=n)).unwrap();
        assert_eq!(to(9).p90_us, None);
        assert_eq!(to(10).p90_us, Some(9));
        assert_eq!(to(99).p99_us, None);
        let hundred = to(100);
        assert_eq!((hundred.p90_us, hundred.p99_us), (Some(90), Some(99)));
        assert_eq!((hundred.min_us, hundred.max_us, hundred.median_us), (1, 100, 50.5));
    }

    #[test]
    fn too_few_rounds_have_no_interval_and_enough_have_their_true_level() {
        assert_eq!(
            interval(1..=5),
            None,
            "their range holds the median in 93.75 % of cases"
        );
        let six = interval([1, 2, 3, 4, 5, 60]).unwrap();
        assert_eq!((six.low, six.high, six.level), (1.0, 60.0, 0.96875));
        let twelve = interval(1..=12).unwrap();
        assert_eq!((twelve.low, twelve.high), (3.0, 10.0));
        assert!((twelve.level - 0.9614).abs() < 1e-4, "{twelve:?}");
    }

    #[test]
    fn samples_of_one_round_count_once() {
        let alike: Vec<(u32, u64)> = (0..30).map(|at| (at / 6, 100 + u64::from(at / 6))).collect();
        let five_rounds = Distribution::from_rounds(&alike).unwrap();
        assert_eq!((five_rounds.n, five_rounds.rounds, five_rounds.interval), (30, 5, None));
    }

    #[test]
    fn many_rounds_are_joined_so_that_every_test_stays_exact() {
        let values: Vec<(u32, u64)> = (0..100).map(|at| (at, 1000 + u64::from(at))).collect();
        assert_eq!(durations(&values).rounds(), 34);
    }

    #[test]
    fn a_pair_is_compared_by_ratio_and_by_difference() {
        let pairs = |value: f64| (0..12).map(|round| (round, value)).collect::<Vec<_>>();
        let ratio = Evidence::new(&pairs(1.5), Scale::Ratio, Rule::SignedRank);
        assert!((ratio.value().unwrap() - 1.5).abs() < 1e-12);
        assert!(ratio.p_above(1.4) < 1e-3 && ratio.p_at_most(1.4) > 0.99);
        assert!(ratio.p_at_most(1.6) < 1e-3 && ratio.p_at_least(1.4) < 1e-3);
        let less = Evidence::new(&pairs(-10.0), Scale::Difference, Rule::SignedRank);
        assert_eq!(less.value(), Some(-10.0));
        assert_eq!(Estimate::of(&Evidence::new(&[], Scale::Ratio, Rule::Order)), None);
    }

    #[test]
    fn a_value_on_the_threshold_is_at_most_it_and_not_above() {
        let on = durations(&apart([10_000; 12]));
        assert!(on.p_at_most(10_000.0) < 1e-3 && on.p_at_least(10_000.0) < 1e-3);
        assert!((on.p_above(10_000.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_smallest_effect_grows_with_the_scatter_and_with_the_family() {
        let scattered = |by: u64| durations(&apart((0..12).map(|at| 1000 + by * (at % 4))));
        let effect = |by, tests| scattered(by).smallest_effect(tests).unwrap();
        assert!((effect(0, 1) - 1.0).abs() < 1e-12, "constant values show anything");
        assert!(effect(10, 1) < effect(50, 1) && effect(50, 1) <= effect(50, 30));
        assert_eq!(scattered(10).smallest_effect(1000), None, "2^-12 is above 0.025 / 1000");
        assert_eq!(durations(&apart(1..=5)).smallest_effect(1), None);
    }
}
