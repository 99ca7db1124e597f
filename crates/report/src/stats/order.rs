//! The sign test and the order-statistic interval of a median: exact at every n, for any distribution.
//!
//! The number of values above the true median is binomial with probability 1/2 (Conover, *Practical Nonparametric
//! Statistics*, 3.2), so two order statistics bound it with a known probability.

use super::basics::Interval;

/// P(X <= k) for X ~ binomial(n, 1/2).
pub(super) fn at_most(k: usize, n: usize) -> f64 {
    let mut term = 0.5f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut sum = term;
    for above in 1..=k.min(n) {
        term *= (n - above + 1) as f64 / above as f64;
        sum += term;
    }
    sum.min(1.0)
}

/// How many order statistics from an end bound the median with an error of at most `alpha` on that side; 0 if n is too
/// small for any.
fn rank(n: usize, alpha: f64) -> usize {
    (1..=n.div_ceil(2))
        .take_while(|rank| at_most(rank - 1, n) <= alpha)
        .last()
        .unwrap_or(0)
}

/// The lower confidence bound of the median at an error of `alpha`; `None` if there are too few values.
pub(super) fn lower_bound(values: &[f64], alpha: f64) -> Option<f64> {
    let rank = rank(values.len(), alpha);
    if rank == 0 {
        return None;
    }
    let mut values = values.to_vec();
    Some(*values.select_nth_unstable_by(rank - 1, f64::total_cmp).1)
}

/// The narrowest symmetric interval with at least this level, and its true level; `None` if there are too few values.
pub(super) fn interval(values: &[f64], level: f64) -> Option<Interval> {
    let n = values.len();
    let rank = rank(n, (1.0 - level) / 2.0);
    if rank == 0 {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Some(Interval {
        low: sorted[rank - 1],
        high: sorted[n - rank],
        level: 1.0 - 2.0 * at_most(rank - 1, n),
    })
}

/// One-sided p of the sign test: small if few values speak against what is to be shown.
pub(super) fn p(values: &[f64], speaks_against: impl Fn(f64) -> bool) -> f64 {
    let against = values.iter().filter(|value| speaks_against(**value)).count();
    at_most(against, values.len())
}
