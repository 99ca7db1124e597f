//! What independent rounds show about one number: its value, its interval, its tests, and the smallest effect that they
//! could have shown.

use std::collections::BTreeMap;

use super::basics::{ALPHA, Interval, LEVEL, median_of};
use super::{bootstrap, order, signed_rank};

/// Chance of finding an effect of the size that [`Evidence::smallest_effect`] gives.
pub(super) const POWER: f64 = 0.8;
/// Most units of evidence. Neighbouring rounds are joined beyond that, which keeps every test exact.
const MOST_UNITS: usize = 48;

/// How values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// By their quotient: durations and ratios. Thresholds and values are above 0.
    Ratio,
    /// By their difference.
    Difference,
}

/// Which test and interval suit the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Any distribution: the sign test, and order statistics. For one group by itself, because latencies are skewed.
    Order,
    /// Symmetric about the true value: the signed-rank test, and Walsh averages. For pairs whose order was drawn at random.
    SignedRank,
}

/// One value for each round.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// How often an error counts: more than once if the run was looked at before it ended.
    counted: f64,
    /// Logarithms if quotients are compared in pairs; otherwise the values themselves, as a sign test needs no scale.
    values: Vec<f64>,
    scale: Scale,
    rule: Rule,
}

impl Evidence {
    /// From values that each name their round: the median of a round stands for it, so that samples that resemble each
    /// other count once.
    pub fn new(values: &[(u32, f64)], scale: Scale, rule: Rule) -> Evidence {
        let mut rounds: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (round, value) in values {
            rounds.entry(*round).or_default().push(scaled(scale, rule, *value));
        }
        let mut rounds: Vec<Vec<f64>> = rounds.into_values().collect();
        let each = rounds.len().div_ceil(MOST_UNITS).max(1);
        let values = rounds
            .chunks_mut(each)
            .filter_map(|joined| median_of(&mut joined.concat()))
            .collect();
        Evidence {
            counted: 1.0,
            values,
            scale,
            rule,
        }
    }

    /// The same of a run that ended when its intervals were narrow: each error counts twice, which makes up for having looked
    /// several times (`docs/method.md`). Intervals have half the error, and each p is doubled.
    #[must_use]
    pub fn looked_at_repeatedly(mut self, repeatedly: bool) -> Evidence {
        self.counted = if repeatedly { 2.0 } else { 1.0 };
        self
    }

    /// Half the width of the interval as a share of the value, for [`Scale::Ratio`]; `None` without an interval.
    pub fn half_width(&self) -> Option<f64> {
        let interval = self.interval()?;
        Some((interval.high / interval.low.max(1e-9)).sqrt() - 1.0)
    }

    /// Number of independent values.
    pub fn rounds(&self) -> usize {
        self.values.len()
    }

    /// One value for each round; logarithms if quotients are compared in pairs.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The estimate that belongs to the rule; `None` without values.
    pub fn value(&self) -> Option<f64> {
        centre(self.rule, &self.values).map(|value| self.unscaled(value))
    }

    /// The interval with at least [`LEVEL`], and its true level; `None` if there are too few rounds for any.
    pub fn interval(&self) -> Option<Interval> {
        let level = 1.0 - (1.0 - LEVEL) / self.counted;
        let interval = match self.rule {
            Rule::Order => order::interval(&self.values, level),
            Rule::SignedRank => signed_rank::interval(&self.values, level),
        };
        interval.map(|interval| Interval {
            low: self.unscaled(interval.low),
            high: self.unscaled(interval.high),
            level: interval.level,
        })
    }

    /// One-sided p for "the true value is at most `threshold`": small if it lies above.
    pub fn p_above(&self, threshold: f64) -> f64 {
        let threshold = scaled(self.scale, self.rule, threshold);
        self.p(&self.values, |value| value <= threshold)
    }

    /// One-sided p for "the true value is above `threshold`": small if it lies at or below.
    pub fn p_at_most(&self, threshold: f64) -> f64 {
        let threshold = scaled(self.scale, self.rule, threshold);
        self.p(&self.values, |value| value > threshold)
    }

    /// One-sided p for "the true value is below `threshold`": small if it lies at or above.
    pub fn p_at_least(&self, threshold: f64) -> f64 {
        let threshold = scaled(self.scale, self.rule, threshold);
        self.p(&self.values, |value| value < threshold)
    }

    fn p(&self, values: &[f64], speaks_against: impl Fn(f64) -> bool) -> f64 {
        let p = match self.rule {
            Rule::Order => order::p(values, speaks_against),
            Rule::SignedRank => signed_rank::p(values, speaks_against),
        };
        (p * self.counted).min(1.0)
    }

    /// The smallest distance from a threshold that a run like this one shows in eight of ten cases, as one of `tests` tests:
    /// a factor of at least 1 for [`Scale::Ratio`], otherwise a difference. `None` if rounds are too few to show any.
    pub fn smallest_effect(&self, tests: usize) -> Option<f64> {
        let alpha = ALPHA / (tests.max(1) as f64 * self.counted);
        let on_scale = |value: &f64| match self.rule {
            Rule::Order => scaled(self.scale, Rule::SignedRank, *value),
            Rule::SignedRank => *value,
        };
        let values: Vec<f64> = self.values.iter().map(on_scale).collect();
        let centre = centre(self.rule, &values)?;
        let residuals: Vec<f64> = values.iter().map(|value| value - centre).collect();
        let bound = |drawn: &[f64]| match self.rule {
            Rule::Order => order::lower_bound(drawn, alpha),
            Rule::SignedRank => signed_rank::lower_bound(drawn, alpha),
        };
        let needed = bootstrap::resampled(&residuals, bootstrap::RESAMPLES, |drawn| bound(drawn).map(|low| -low));
        let effect = bootstrap::quantile(&needed, POWER)?.max(0.0);
        Some(match self.scale {
            Scale::Ratio => effect.exp(),
            Scale::Difference => effect,
        })
    }

    fn unscaled(&self, value: f64) -> f64 {
        match (self.scale, self.rule) {
            (Scale::Ratio, Rule::SignedRank) => value.exp(),
            _ => value,
        }
    }
}

fn centre(rule: Rule, values: &[f64]) -> Option<f64> {
    match rule {
        Rule::Order => median_of(&mut values.to_vec()),
        Rule::SignedRank => signed_rank::centre(values),
    }
}

/// A duration of 0 µs is one below the clock's resolution of 1 µs.
fn scaled(scale: Scale, rule: Rule, value: f64) -> f64 {
    match (scale, rule) {
        (Scale::Ratio, Rule::SignedRank) => value.max(1e-9).ln(),
        _ => value,
    }
}
