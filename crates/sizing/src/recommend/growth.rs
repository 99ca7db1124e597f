//! Estimates how the working set grows, from what each block of time uses.

use serde::Serialize;

use crate::number::float;
use crate::stats::Interval;

/// Smallest number of days that shows a trend.
const FEWEST_DAYS: f64 = 7.0;
/// Half the width of a 95 % interval in standard errors.
const WIDTH: f64 = 2.0;

/// How the working set grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Growth {
    /// Growth per day as a share of the usage at the end of the trace; `None` if the trace is too short.
    pub per_day: Option<f64>,
    /// The interval of the growth.
    pub interval: Option<Interval>,
    /// Days of growth that the size includes.
    pub days: f64,
    /// The resulting factor; 1 if growth cannot be distinguished from chance.
    pub factor: f64,
}

impl Growth {
    /// Estimates growth from the bytes that each block of time uses. Blocks without requests are ignored.
    pub fn estimate(used_bytes: &[u64], trace_days: f64, provided_days: Option<f64>) -> Growth {
        let days = provided_days.unwrap_or(0.0);
        let none = Growth {
            days,
            factor: 1.0,
            ..Growth::default()
        };
        let block_days = trace_days / float(used_bytes.len().max(1) as u64);
        let points: Vec<(f64, f64)> = used_bytes
            .iter()
            .enumerate()
            .filter(|(_, bytes)| **bytes > 0)
            .map(|(at, bytes)| ((float(at as u64) + 0.5) * block_days, float(*bytes)))
            .collect();
        if trace_days < FEWEST_DAYS || points.len() < 5 {
            return none;
        }
        let count = float(points.len() as u64);
        let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
        let off = |point: &(f64, f64)| point.1 - y - slope * (point.0 - x);
        let variance = points.iter().map(|point| off(point).powi(2)).sum::<f64>() / (count - 2.0);
        let error = (variance / spread).sqrt();
        let end = (y + slope * (trace_days - x)).max(1.0);
        let share = |slope: f64| slope / end;
        let interval = Interval {
            low: share(slope - WIDTH * error),
            high: share(slope + WIDTH * error),
        };
        let factor = if interval.low > 0.0 {
            1.0 + share(slope) * days
        } else {
            1.0
        };
        Growth {
            per_day: Some(share(slope)),
            interval: Some(interval),
            days,
            factor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_growth_is_extrapolated_and_noise_is_not() {
        let growing: Vec<u64> = (0..14).map(|day| 1_000_000 + 10_000 * day + day % 3 * 900).collect();
        let found = Growth::estimate(&growing, 14.0, Some(365.0));
        let per_day = found.per_day.unwrap();
        assert!((per_day / (10_000.0 / 1_135_000.0) - 1.0).abs() < 0.05, "{found:?}");
        assert!((found.factor - (1.0 + per_day * 365.0)).abs() < 1e-9);
        let noisy: Vec<u64> = (0..14u64).map(|day| 1_000_000 + (day * 7919) % 13 * 20_000).collect();
        let found = Growth::estimate(&noisy, 14.0, Some(365.0));
        assert!(found.factor == 1.0 && found.interval.unwrap().low < 0.0, "{found:?}");
        assert_eq!(Growth::estimate(&growing, 3.0, Some(365.0)).per_day, None);
        assert_eq!(Growth::estimate(&[0; 20], 30.0, None).factor, 1.0);
    }
}
