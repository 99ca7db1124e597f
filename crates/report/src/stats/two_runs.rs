//! Two runs that were measured apart: no pairs, so their rounds are compared by ranks.

use super::basics::{ALPHA, Interval, LEVEL, median_of};
use super::evidence::POWER;
use super::random::SplitMix64;
use super::{Estimate, bootstrap, rank_sum};

/// Logarithms of one value for each round, of both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct TwoRuns {
    a: Vec<f64>,
    b: Vec<f64>,
    /// As in [`super::Evidence`].
    counted: f64,
}

impl TwoRuns {
    /// From one positive value for each round.
    pub fn new(a: &[f64], b: &[f64]) -> TwoRuns {
        let logs = |values: &[f64]| values.iter().map(|value| value.max(1e-9).ln()).collect();
        TwoRuns {
            a: logs(a),
            b: logs(b),
            counted: 1.0,
        }
    }

    /// As [`super::Evidence::looked_at_repeatedly`], if one of the runs was.
    #[must_use]
    pub fn looked_at_repeatedly(mut self, repeatedly: bool) -> TwoRuns {
        self.counted = if repeatedly { 2.0 } else { 1.0 };
        self
    }

    fn p(&self, speaks_against: impl Fn(f64) -> bool) -> f64 {
        (rank_sum::p(&self.b, &self.a, speaks_against) * self.counted).min(1.0)
    }

    /// B over A with its interval; `None` if either is empty.
    pub fn ratio(&self) -> Option<Estimate> {
        let interval = rank_sum::interval(&self.b, &self.a, 1.0 - (1.0 - LEVEL) / self.counted);
        Some(Estimate {
            value: rank_sum::shift(&self.b, &self.a)?.exp(),
            interval: interval.map(|interval| Interval {
                low: interval.low.exp(),
                high: interval.high.exp(),
                level: interval.level,
            }),
            rounds: self.a.len().min(self.b.len()),
        })
    }

    /// One-sided p for "B takes at most `limit` times as long as A": small if it takes longer.
    pub fn p_above(&self, limit: f64) -> f64 {
        let limit = limit.ln();
        self.p(|difference| difference <= limit)
    }

    /// One-sided p for "B takes more than `limit` times as long as A": small if it does not.
    pub fn p_at_most(&self, limit: f64) -> f64 {
        let limit = limit.ln();
        self.p(|difference| difference > limit)
    }

    /// One-sided p for "B takes less than `limit` times as long as A": small if it takes at least that.
    pub fn p_at_least(&self, limit: f64) -> f64 {
        let limit = limit.ln();
        self.p(|difference| difference < limit)
    }

    /// One-sided p for "B takes at least `limit` times as long as A": small if it takes less.
    pub fn p_below(&self, limit: f64) -> f64 {
        let limit = limit.ln();
        self.p(|difference| difference >= limit)
    }

    /// The smallest factor between B and A that runs like these show in eight of ten cases, as one of `tests` tests;
    /// `None` if rounds are too few to show any.
    pub fn smallest_effect(&self, tests: usize) -> Option<f64> {
        let alpha = ALPHA / (tests.max(1) as f64 * self.counted);
        let residuals = |values: &[f64]| -> Option<Vec<f64>> {
            let centre = median_of(&mut values.to_vec())?;
            Some(values.iter().map(|value| value - centre).collect())
        };
        let (a, b) = (residuals(&self.a)?, residuals(&self.b)?);
        let chances = rank_sum::distribution(b.len(), a.len());
        let mut random = SplitMix64::seeded(bootstrap::SEED);
        let mut drawn =
            |from: &[f64]| -> Vec<f64> { (0..from.len()).map(|_| from[random.below(from.len())]).collect() };
        let needed = (0..bootstrap::RESAMPLES).map(|_| {
            let (a, b) = (drawn(&a), drawn(&b));
            rank_sum::lower_bound(&b, &a, &chances, alpha).map(|low| -low)
        });
        let mut needed: Vec<f64> = needed.collect::<Option<_>>()?;
        needed.sort_unstable_by(f64::total_cmp);
        Some(bootstrap::quantile(&needed, POWER)?.max(0.0).exp())
    }
}
