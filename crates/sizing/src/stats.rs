//! Estimates from samples: quantiles, regression lines, and intervals from blocks of time.

use crate::number::{Random, float, narrow, whole};

/// Number of resamplings for every interval.
pub const RESAMPLES: usize = 1000;
/// Coverage that an interval aims for.
pub const LEVEL: f64 = 0.95;

/// A sample of fixed size from a stream of any length; each value has the same probability.
#[derive(Clone, Debug)]
pub struct Reservoir<T> {
    kept: Vec<T>,
    room: usize,
    seen: u64,
    random: Random,
}

impl<T: Copy> Reservoir<T> {
    /// Creates an empty sample for at most this many values.
    pub fn new(room: usize) -> Reservoir<T> {
        Reservoir {
            kept: Vec::new(),
            room,
            seen: 0,
            random: Random::seeded(0x7265_7365),
        }
    }

    /// Offers one more value to the sample.
    pub fn push(&mut self, value: T) {
        self.seen += 1;
        if self.kept.len() < self.room {
            self.kept.push(value);
        } else {
            let place = whole(self.random.unit() * float(self.seen) - 0.5);
            if let Some(slot) = self.kept.get_mut(crate::number::index(place)) {
                *slot = value;
            }
        }
    }

    /// The values in the sample.
    pub fn kept(&self) -> &[T] {
        &self.kept
    }
}

/// A line `y = base + slope * x` through points, with neither below zero, by least squares.
pub fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = float(points.len() as u64).max(1.0);
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let together: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let slope = if spread > 0.0 {
        (together / spread).max(0.0)
    } else {
        0.0
    };
    let base = mean_y - slope * mean_x;
    if base >= 0.0 {
        return (base, slope);
    }
    let through_zero: f64 = points.iter().map(|(x, y)| x * y).sum();
    let squares: f64 = points.iter().map(|(x, _)| x * x).sum();
    (0.0, through_zero / squares.max(f64::MIN_POSITIVE))
}

/// Durations in classes that are 4.5 % wide, from a microsecond to 36 hours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    classes: Vec<u64>,
}

/// Classes for each doubling.
const CLASSES: f64 = 16.0;
const MOST_CLASSES: u32 = 16 * 37;

/// The class of a duration in microseconds.
pub fn class(us: f64) -> u32 {
    let class = (us.max(1.0).log2() * CLASSES).floor();
    narrow(crate::number::index(whole(class))).min(MOST_CLASSES)
}

impl Durations {
    /// Adds this many durations to a class.
    pub fn add(&mut self, class: u32, count: u64) {
        if self.classes.is_empty() {
            self.classes = vec![0; MOST_CLASSES as usize + 1];
        }
        self.classes[class.min(MOST_CLASSES) as usize] += count;
    }

    /// The duration in microseconds below which a `share` lies; `None` if there are none.
    pub fn quantile_us(&self, share: f64) -> Option<f64> {
        let all: u64 = self.classes.iter().sum();
        let wanted = (float(all) * share).ceil().max(1.0);
        let mut below = 0;
        let class = self.classes.iter().position(|count| {
            below += count;
            float(below) >= wanted
        })?;
        // This is the middle of the class.
        Some(((float(class as u64) + 0.5) / CLASSES).exp2())
    }
}

/// An interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The central part of resampled values that holds [`LEVEL`] of them; `None` if there are none.
pub fn central(mut values: Vec<f64>) -> Option<Interval> {
    values.sort_unstable_by(f64::total_cmp);
    let tail = crate::number::index(whole(float(values.len() as u64) * (1.0 - LEVEL) / 2.0));
    let last = values.len().checked_sub(1)?;
    Some(Interval {
        low: values[tail.min(last)],
        high: values[last - tail.min(last)],
    })
}

/// Draws blocks with replacement, as many as there are, [`RESAMPLES`] times.
pub fn resamples(blocks: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut random = Random::seeded(0x626c_6f63);
    (0..RESAMPLES).map(move |_| (0..blocks).map(|_| random.below(blocks)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_never_falls_or_begins_below_zero() {
        let points: Vec<(f64, f64)> = (0..20).map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x))).collect();
        let (base, slope) = line(&points);
        assert!((base - 3.0).abs() < 1e-9 && (slope - 2.0).abs() < 1e-9);
        assert_eq!(line(&[(1.0, 9.0), (2.0, 1.0)]), (5.0, 0.0));
        let (base, slope) = line(&[(10.0, 1.0), (20.0, 20.0)]);
        assert!(base == 0.0 && (slope - 410.0 / 500.0).abs() < 1e-9);
        assert_eq!(line(&[]), (0.0, 0.0));
    }

    #[test]
    fn quantiles_of_durations_are_within_a_class() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantile_us(0.5), None);
        for us in 1..=1000u32 {
            durations.add(class(f64::from(us) * 1000.0), 1);
        }
        for share in [0.05, 0.5, 0.95, 0.99, 1.0] {
            let found = durations.quantile_us(share).unwrap() / 1000.0;
            assert!((found / (share * 1000.0) - 1.0).abs() < 0.045, "{share}: {found}");
        }
    }

    #[test]
    fn a_reservoir_gives_each_value_the_same_chance() {
        let mut early = 0;
        let mut reservoir = Reservoir::new(500);
        (0..20_000u32).for_each(|value| reservoir.push(value));
        early += reservoir.kept().iter().filter(|value| **value < 10_000).count();
        assert!(reservoir.kept().len() == 500 && (200..300).contains(&early), "{early}");
    }

    #[test]
    fn an_interval_narrows_with_the_number_of_blocks() {
        let width = |blocks: usize| {
            let value = |block: usize| float((block * 7 % 10) as u64);
            let mean = |drawn: Vec<usize>| drawn.into_iter().map(value).sum::<f64>() / float(blocks as u64);
            let interval = central(resamples(blocks).map(mean).collect()).unwrap();
            assert!(interval.low < 4.5 && interval.high > 4.5, "{interval:?}");
            interval.high - interval.low
        };
        let ratio = width(10) / width(90);
        assert!((2.4..3.8).contains(&ratio), "{ratio}");
        assert_eq!(central(Vec::new()), None);
    }
}
