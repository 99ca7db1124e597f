//! Finds the points at which a series changed: binary segmentation, each split by a permutation test of ranks.
//!
//! The statistic is Pettitt's (*Applied Statistics* 28, 1979) with its variance divided out, so that a change near the end is found
//! as well as one in the middle. Ranks need no distribution, and one slow run moves them little. `docs/method.md` has the reasons.

use serde::Serialize;

use crate::stats::{Estimate, SplitMix64, TwoRuns};

/// Chance that a whole history shows any change if there is none.
pub const MOST_FALSE: f64 = 0.05;
/// Fewest runs on each side of a change.
const LEAST_RUNS: usize = 4;
/// Permutations of a test: at least so many, more if many series share the error, and at most [`MOST_PERMUTATIONS`].
const PERMUTATIONS: usize = 999;
const MOST_PERMUTATIONS: usize = 19_999;
/// Runs on each side, nearest to the change, that its size is estimated from; keeps the exact interval cheap.
const NEAREST: usize = 30;
const SEED: u64 = 0x6869_7374_6f72;

/// A change of a series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangePoint {
    /// The last run before it, and the first run after it.
    pub before: usize,
    /// See `before`.
    pub after: usize,
    /// After over before, from the runs up to the neighbouring changes.
    pub ratio: Estimate,
    /// p of its permutation test by itself.
    pub p: f64,
}

/// The changes of several series, which share [`MOST_FALSE`] evenly. Each series is runs with positive values, by time.
pub fn find_changes(series: &[Vec<(usize, f64)>]) -> Vec<Vec<ChangePoint>> {
    let tests = series.iter().filter(|own| own.len() >= 2 * LEAST_RUNS).count().max(1);
    let alpha = MOST_FALSE / tests as f64;
    series.iter().map(|own| changes_of(own, alpha)).collect()
}

fn changes_of(series: &[(usize, f64)], alpha: f64) -> Vec<ChangePoint> {
    let mut random = SplitMix64::seeded(SEED);
    let mut splits: Vec<(usize, f64)> = Vec::new();
    let mut open = vec![(0, series.len())];
    while let Some((from, to)) = open.pop() {
        let values: Vec<f64> = series[from..to].iter().map(|(_, value)| *value).collect();
        if let Some((at, p)) = split(&values, alpha, &mut random) {
            splits.push((from + at, p));
            open.extend([(from, from + at), (from + at, to)]);
        }
    }
    splits.sort_by_key(|(at, _)| *at);
    let ends: Vec<usize> = std::iter::once(0)
        .chain(splits.iter().map(|(at, _)| *at))
        .chain([series.len()])
        .collect();
    let values = |from: usize, to: usize| -> Vec<f64> { series[from..to].iter().map(|(_, value)| *value).collect() };
    let change = |(nth, (at, p)): (usize, &(usize, f64))| {
        let (start, end) = (ends[nth], ends[nth + 2]);
        let old = values(start.max(at.saturating_sub(NEAREST)), *at);
        let new = values(*at, end.min(at + NEAREST));
        Some(ChangePoint {
            before: series[at - 1].0,
            after: series[*at].0,
            ratio: TwoRuns::new(&old, &new).ratio()?,
            p: *p,
        })
    };
    splits.iter().enumerate().filter_map(change).collect()
}

/// The likeliest change within some values, with its p; `None` if it is not significant.
fn split(values: &[f64], alpha: f64, random: &mut SplitMix64) -> Option<(usize, f64)> {
    let mut ranks = ranks(values);
    let (at, seen) = largest(&ranks)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small positive number"
    )]
    let wanted = (5.0 / alpha).ceil() as usize;
    let permutations = wanted.clamp(PERMUTATIONS, MOST_PERMUTATIONS);
    let total = (permutations + 1) as f64;
    let mut as_large = 1.0;
    for _ in 0..permutations {
        shuffle(&mut ranks, random);
        // A tiny share less: the same sum in another order differs in its last digits.
        if largest(&ranks)?.1 >= seen * (1.0 - 1e-9) {
            as_large += 1.0;
            if as_large / total > alpha {
                return None;
            }
        }
    }
    // Many series leave each so small a share that no number of permutations reaches it.
    (as_large / total <= alpha).then(|| (sharpened(values, at), as_large / total))
}

/// The change near `at` that leaves the least squares of the logarithms from the mean of their side, the outermost twentieths pulled
/// in. Ranks tell that there is a change, but their largest difference lies a run or two nearer to the middle.
fn sharpened(values: &[f64], at: usize) -> usize {
    let mut logs: Vec<f64> = values.iter().map(|value| value.max(1e-9).ln()).collect();
    let mut sorted = logs.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let (n, outermost) = (logs.len(), logs.len() / 20);
    let (low, high) = (sorted[outermost], sorted[n - 1 - outermost]);
    logs.iter_mut().for_each(|log| *log = log.clamp(low, high));
    let squares = |part: &[f64]| {
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        part.iter().map(|log| (log - mean).powi(2)).sum::<f64>()
    };
    let left = |split: &usize| squares(&logs[..*split]) + squares(&logs[*split..]);
    let from = at.saturating_sub(NEAREST).max(LEAST_RUNS);
    let to = (at + NEAREST).min(n - LEAST_RUNS);
    (from..=to)
        .min_by(|one, other| left(one).total_cmp(&left(other)))
        .unwrap_or(at)
}

/// Where the ranks before and after differ most, and by how much in units of the standard deviation (up to a constant).
fn largest(ranks: &[f64]) -> Option<(usize, f64)> {
    let n = ranks.len();
    let mean = (n as f64 + 1.0) / 2.0;
    let mut sum = 0.0;
    let mut best = None;
    for (at, rank) in (1..n).zip(ranks) {
        sum += rank;
        if at < LEAST_RUNS || n - at < LEAST_RUNS {
            continue;
        }
        let size = (sum - at as f64 * mean).abs() / (at as f64 * (n - at) as f64).sqrt();
        if best.is_none_or(|(_, most)| size > most) {
            best = Some((at, size));
        }
    }
    best
}

/// Ranks from 1; values that are equal share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|one, other| values[*one] == values[*other]) {
        let below = order.partition_point(|one| values[*one] < values[equal[0]]);
        for at in equal {
            ranks[*at] = below as f64 + (equal.len() as f64 + 1.0) / 2.0;
        }
    }
    ranks
}

fn shuffle(values: &mut [f64], random: &mut SplitMix64) {
    for at in (1..values.len()).rev() {
        values.swap(at, random.below(at + 1));
    }
}
