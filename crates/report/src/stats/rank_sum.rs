//! Wilcoxon's rank-sum test (Mann-Whitney U) and the Hodges-Lehmann interval of a shift, both exact.
//!
//! For two runs that were measured apart, whose rounds are no pairs. The bounds are order statistics of all differences
//! (Hollander, Wolfe and Chicken, *Nonparametric Statistical Methods*, 4.3).

use super::basics::{Interval, median_of};

/// P(U <= u) for u from 0: the null distribution of the number of pairs in which one side is larger.
pub(super) fn distribution(n: usize, m: usize) -> Vec<f64> {
    // Over the pooled values in order: with which chance the i-th belongs to the first side, given what went before.
    let mut chances = vec![vec![0.0; n * m + 1]; n + 1];
    chances[0][0] = 1.0;
    for seen in 0..n + m {
        for own in (0..=n.min(seen)).rev() {
            let other = seen - own;
            if other > m {
                continue;
            }
            let left = (n + m - seen) as f64;
            let (to_own, to_other) = ((n - own) as f64 / left, (m.saturating_sub(other)) as f64 / left);
            let now = std::mem::replace(&mut chances[own], vec![0.0; n * m + 1]);
            for (u, chance) in now.into_iter().enumerate().filter(|(_, chance)| *chance > 0.0) {
                chances[own][u] += chance * to_other;
                // A value of the first side is larger than all values of the other side so far.
                if own < n {
                    chances[own + 1][u + other] += chance * to_own;
                }
            }
        }
    }
    let mut total = 0.0f64;
    let sum = |chance: &f64| {
        total += chance;
        total.min(1.0)
    };
    chances[n].iter().map(sum).collect()
}

fn differences(one: &[f64], other: &[f64]) -> Vec<f64> {
    one.iter()
        .flat_map(|one| other.iter().map(move |other| one - other))
        .collect()
}

/// The Hodges-Lehmann estimate of how far `one` lies above `other`; `None` if either is empty.
pub(super) fn shift(one: &[f64], other: &[f64]) -> Option<f64> {
    median_of(&mut differences(one, other))
}

/// The interval of the shift with at least this level, and its true level; `None` if there are too few values.
pub(super) fn interval(one: &[f64], other: &[f64], level: f64) -> Option<Interval> {
    if one.is_empty() || other.is_empty() {
        return None;
    }
    let chances = distribution(one.len(), other.len());
    let alpha = (1.0 - level) / 2.0;
    let rank = chances.iter().take_while(|chance| **chance <= alpha).count();
    if rank == 0 {
        return None;
    }
    let mut differences = differences(one, other);
    differences.sort_unstable_by(f64::total_cmp);
    Some(Interval {
        low: differences[rank - 1],
        high: differences[differences.len() - rank],
        level: 1.0 - 2.0 * chances[rank - 1],
    })
}

/// The lower confidence bound of the shift at an error of `alpha`, with the null distribution of these sizes; `None` if there
/// are too few values.
pub(super) fn lower_bound(one: &[f64], other: &[f64], distribution: &[f64], alpha: f64) -> Option<f64> {
    let rank = distribution.iter().take_while(|chance| **chance <= alpha).count();
    let mut differences = differences(one, other);
    if rank == 0 || differences.len() < rank {
        return None;
    }
    Some(*differences.select_nth_unstable_by(rank - 1, f64::total_cmp).1)
}

/// One-sided p: small if few differences speak against what is to be shown.
pub(super) fn p(one: &[f64], other: &[f64], speaks_against: impl Fn(f64) -> bool) -> f64 {
    let against = differences(one, other)
        .into_iter()
        .filter(|difference| speaks_against(*difference))
        .count();
    let chances = distribution(one.len(), other.len());
    chances.get(against).copied().unwrap_or(1.0)
}
