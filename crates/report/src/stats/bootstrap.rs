//! Draws whole rounds with replacement: what another run of the same kind could have given.
//!
//! Only whole rounds are drawn, because samples of one round resemble each other (Davison and Hinkley, *Bootstrap Methods and
//! their Application*, 3.8). No verdict rests on it, since its intervals are too narrow if rounds are few.

use super::random::SplitMix64;

/// Draws behind each quantile. Enough that its second significant digit no longer moves.
pub const RESAMPLES: usize = 400;

/// Seed of every drawing.
pub(super) const SEED: u64 = 0x6879_6272_6964;

/// A statistic of so many drawings of as many rounds as there are, sorted. A drawing without the statistic is left out.
pub fn resampled<R: Clone>(rounds: &[R], drawings: usize, statistic: impl Fn(&[R]) -> Option<f64>) -> Vec<f64> {
    let mut random = SplitMix64::seeded(SEED);
    let mut drawn = Vec::with_capacity(rounds.len());
    let mut values: Vec<f64> = (0..drawings)
        .filter_map(|_| {
            drawn.clear();
            drawn.extend((0..rounds.len()).map(|_| rounds[random.below(rounds.len())].clone()));
            statistic(&drawn)
        })
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The value below which this share of the sorted values lies; `None` if there are none.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into the values"
    )]
    let at = (share * last as f64).round() as usize;
    sorted.get(at.min(last)).copied()
}
