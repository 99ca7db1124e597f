//! Wilcoxon's signed-rank test and the Hodges-Lehmann interval that belongs to it, both exact.
//!
//! For paired differences whose order within the pair was drawn at random, so that they are symmetric about the true
//! difference. The bounds are order statistics of the Walsh averages (Hollander, Wolfe and Chicken, *Nonparametric
//! Statistical Methods*, 3.3). Its efficiency against the mean is at least 0.864 for every symmetric distribution.

use super::basics::{Interval, median_of};

/// P(W <= w) for w from 0: the null distribution of the sum of positive ranks of n values.
fn distribution(n: usize) -> Vec<f64> {
    let most = n * (n + 1) / 2;
    let mut chances = vec![0.0; most + 1];
    chances[0] = 1.0;
    let mut reached = 0;
    for rank in 1..=n {
        for sum in (0..=reached).rev() {
            let half = chances[sum] / 2.0;
            chances[sum] = half;
            chances[sum + rank] += half;
        }
        reached += rank;
    }
    let mut total = 0.0f64;
    for chance in &mut chances {
        total += *chance;
        *chance = total.min(1.0);
    }
    chances
}

/// The averages of all pairs of values, each with itself included, unsorted.
fn walsh(values: &[f64]) -> Vec<f64> {
    let pairs = values.iter().enumerate();
    pairs
        .flat_map(|(at, one)| values[at..].iter().map(move |other| f64::midpoint(*one, *other)))
        .collect()
}

/// How many Walsh averages from an end bound the centre with an error of at most `alpha`; 0 if n is too small for any.
fn rank(distribution: &[f64], alpha: f64) -> usize {
    distribution.iter().take_while(|chance| **chance <= alpha).count()
}

/// The Hodges-Lehmann estimate: the median of the Walsh averages; `None` if there are no values.
pub(super) fn centre(values: &[f64]) -> Option<f64> {
    median_of(&mut walsh(values))
}

/// The lower confidence bound of the centre at an error of `alpha`; `None` if there are too few values.
pub(super) fn lower_bound(values: &[f64], alpha: f64) -> Option<f64> {
    let rank = rank(&distribution(values.len()), alpha);
    if rank == 0 || values.is_empty() {
        return None;
    }
    Some(*walsh(values).select_nth_unstable_by(rank - 1, f64::total_cmp).1)
}

/// The interval of the centre with at least this level, and its true level; `None` if there are too few values.
pub(super) fn interval(values: &[f64], level: f64) -> Option<Interval> {
    let chances = distribution(values.len());
    let rank = rank(&chances, (1.0 - level) / 2.0);
    if rank == 0 || values.is_empty() {
        return None;
    }
    let mut walsh = walsh(values);
    walsh.sort_unstable_by(f64::total_cmp);
    Some(Interval {
        low: walsh[rank - 1],
        high: walsh[walsh.len() - rank],
        level: 1.0 - 2.0 * chances[rank - 1],
    })
}

/// One-sided p: small if few Walsh averages speak against what is to be shown. So it is at most alpha exactly if the bound at
/// alpha lies beyond the threshold, and ties never make it too small.
pub(super) fn p(values: &[f64], speaks_against: impl Fn(f64) -> bool) -> f64 {
    let against = walsh(values)
        .into_iter()
        .filter(|average| speaks_against(*average))
        .count();
    distribution(values.len()).get(against).copied().unwrap_or(1.0)
}
