//! How fast something grew: least squares over evenly spaced values, with an interval that allows for autocorrelation.

/// Below this many independent values there is no interval.
const LEAST: f64 = 4.0;
/// Values below which there is no slope.
const MIN_POINTS: usize = 8;
/// The standard normal distribution's quantile of 97.5 %.
const Z: f64 = 1.959_964;

/// A slope, in units a second, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// The slope.
    pub per_s: f64,
    /// Ends of its interval.
    pub interval: (f64, f64),
    /// Mean of the values.
    pub mean: f64,
}

/// What a slope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// Its interval holds 0.
    Flat,
    /// It lies above 0.
    Grows,
    /// It lies below 0.
    Shrinks,
}

impl Slope {
    /// Of pairs of seconds and value; `None` if there are too few, or fewer than four are independent.
    pub fn fit(points: &[(f64, f64)]) -> Option<Slope> {
        if points.len() < MIN_POINTS {
            return None;
        }
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (time, value) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - time).powi(2)).sum();
        if spread <= 0.0 {
            return None;
        }
        let together: f64 = points.iter().map(|point| (point.0 - time) * (point.1 - value)).sum();
        let per_s = together / spread;
        let rest: Vec<f64> = points
            .iter()
            .map(|point| point.1 - value - per_s * (point.0 - time))
            .collect();
        let squares: f64 = rest.iter().map(|rest| rest * rest).sum();
        // As many independent values as a series of the first order with this correlation is worth.
        let neighbours: f64 = rest.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let alike = if squares > 0.0 {
            (neighbours / squares).max(0.0)
        } else {
            0.0
        };
        let independent = n * (1.0 - alike) / (1.0 + alike);
        if independent < LEAST {
            return None;
        }
        let error = (squares / (independent - 2.0) / spread).sqrt();
        let half = quantile(independent - 2.0) * error;
        Some(Slope {
            per_s,
            interval: (per_s - half, per_s + half),
            mean: value,
        })
    }

    /// What it says.
    pub fn trend(&self) -> Trend {
        match self.interval {
            (low, _) if low > 0.0 => Trend::Grows,
            (_, high) if high < 0.0 => Trend::Shrinks,
            _ => Trend::Flat,
        }
    }
}

impl Trend {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Trend::Flat => "flat",
            Trend::Grows => "grows",
            Trend::Shrinks => "shrinks",
        }
    }
}

/// Student's quantile of 97.5 %, by Cornish and Fisher's expansion: exact to 4 % from two degrees of freedom on.
fn quantile(freedom: f64) -> f64 {
    let (z3, z5) = (Z.powi(3), Z.powi(5));
    let z7 = Z.powi(7);
    let first = (z3 + Z) / 4.0;
    let second = (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / 96.0;
    let third = (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / 384.0;
    Z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::SplitMix64;

    /// Values from -0.5 to 0.5.
    fn noise(seed: u64, n: usize) -> Vec<f64> {
        let mut random = SplitMix64::seeded(seed);
        (0..n)
            .map(|_| (random.next() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5)
            .collect()
    }

    fn points(values: &[f64]) -> Vec<(f64, f64)> {
        values
            .iter()
            .enumerate()
            .map(|(at, value)| (at as f64, *value))
            .collect()
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, table) in [
            (2.0, 4.303),
            (5.0, 2.571),
            (10.0, 2.228),
            (30.0, 2.042),
            (1000.0, 1.962),
        ] {
            let error = (quantile(freedom) - table).abs() / table;
            assert!(error < 0.05, "{freedom}: {} for {table}", quantile(freedom));
        }
    }

    #[test]
    fn a_slope_is_found_in_noise_and_none_is_invented() {
        let values: Vec<f64> = noise(1, 60)
            .iter()
            .enumerate()
            .map(|(at, x)| 100.0 + at as f64 * 0.1 + x)
            .collect();
        let slope = Slope::fit(&points(&values)).unwrap();
        assert!((slope.per_s - 0.1).abs() < 0.02, "{slope:?}");
        assert_eq!(slope.trend(), Trend::Grows);
        let falling: Vec<f64> = values.iter().map(|value| -value).collect();
        assert_eq!(Slope::fit(&points(&falling)).unwrap().trend(), Trend::Shrinks);
    }

    #[test]
    fn the_interval_has_its_coverage_even_with_autocorrelated_values() {
        for alike in [0.0, 0.6] {
            let flat = (0..200).filter(|seed| {
                let mut last = 0.0;
                let values: Vec<f64> = noise(*seed, 60)
                    .into_iter()
                    .map(|x| {
                        last = alike * last + x;
                        last
                    })
                    .collect();
                Slope::fit(&points(&values)).is_none_or(|slope| slope.trend() == Trend::Flat)
            });
            let held = flat.count();
            assert!(held >= 176, "{held} of 200 at a correlation of {alike}");
        }
    }

    #[test]
    fn few_values_have_no_slope_and_equal_ones_a_flat_one() {
        assert_eq!(Slope::fit(&points(&[1.0; 7])), None);
        let slope = Slope::fit(&points(&[3.0; 8])).unwrap();
        assert_eq!(
            (slope.per_s, slope.interval, slope.trend()),
            (0.0, (0.0, 0.0), Trend::Flat)
        );
        assert_eq!(Slope::fit(&[(1.0, 2.0); 9]), None);
    }
}
