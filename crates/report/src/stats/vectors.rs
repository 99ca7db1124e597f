//! The crate's statistics against NumPy's and SciPy's: `tests/scipy/vectors.py` writes the values.

use serde::Deserialize;

use super::basics::{LEVEL, median_of};
use super::{bootstrap, order, rank_sum, signed_rank};

#[derive(Deserialize)]
struct Vectors {
    one_sample: Vec<OneSample>,
    two_samples: Vec<TwoSamples>,
}

#[derive(Deserialize)]
struct OneSample {
    values: Vec<f64>,
    threshold: f64,
    median: f64,
    order: Option<[f64; 3]>,
    sign_p: f64,
    centre: f64,
    signed_rank: Option<[f64; 2]>,
    signed_rank_p: f64,
    median_standard_error: f64,
}

#[derive(Deserialize)]
struct TwoSamples {
    one: Vec<f64>,
    other: Vec<f64>,
    threshold: f64,
    shift: f64,
    interval: Option<[f64; 2]>,
    p: f64,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../tests/scipy/vectors.json")).unwrap()
}

fn assert_close(what: &str, n: usize, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-9, "{what}, n = {n}: {ours} is not {theirs}");
}

#[test]
fn medians_and_order_statistics_are_those_of_scipy() {
    for case in vectors().one_sample {
        let n = case.values.len();
        assert_close("median", n, median_of(&mut case.values.clone()).unwrap(), case.median);
        let p = order::p(&case.values, |value| value <= case.threshold);
        assert_close("sign test", n, p, case.sign_p);
        let interval = order::interval(&case.values, LEVEL);
        assert_eq!(interval.is_some(), case.order.is_some(), "n = {n}");
        if let Some((ours, [low, high, level])) = interval.zip(case.order) {
            assert_close("low", n, ours.low, low);
            assert_close("high", n, ours.high, high);
            assert_close("level", n, ours.level, level);
        }
    }
}

#[test]
fn the_signed_rank_test_and_its_interval_are_those_of_scipy() {
    for case in vectors().one_sample {
        let n = case.values.len();
        assert_close("centre", n, signed_rank::centre(&case.values).unwrap(), case.centre);
        let p = signed_rank::p(&case.values, |average| average <= case.threshold);
        assert_close("signed rank", n, p, case.signed_rank_p);
        let interval = signed_rank::interval(&case.values, LEVEL);
        assert_eq!(interval.is_some(), case.signed_rank.is_some(), "n = {n}");
        if let Some((ours, [low, high])) = interval.zip(case.signed_rank) {
            assert_close("low", n, ours.low, low);
            assert_close("high", n, ours.high, high);
            assert!(ours.level >= LEVEL);
        }
    }
}

#[test]
fn the_rank_sum_test_and_its_interval_are_those_of_scipy() {
    for case in vectors().two_samples {
        let n = case.one.len();
        let (one, other) = (&case.one, &case.other);
        assert_close("shift", n, rank_sum::shift(one, other).unwrap(), case.shift);
        let p = rank_sum::p(one, other, |difference| difference <= case.threshold);
        assert_close("rank sum", n, p, case.p);
        let interval = rank_sum::interval(one, other, LEVEL);
        assert_eq!(interval.is_some(), case.interval.is_some(), "n = {n}");
        if let Some((ours, [low, high])) = interval.zip(case.interval) {
            assert_close("low", n, ours.low, low);
            assert_close("high", n, ours.high, high);
        }
    }
}

/// With 20,000 drawings on both sides, the standard error of a distribution with a kurtosis of up to 10 is known to 1.5 %; four
/// times that is allowed.
#[test]
fn the_bootstrap_agrees_with_scipy_within_its_monte_carlo_error() {
    for case in vectors().one_sample.into_iter().filter(|case| case.values.len() >= 6) {
        let medians = bootstrap::resampled(&case.values, 20_000, |drawn| median_of(&mut drawn.to_vec()));
        let n = medians.len() as f64;
        let mean = medians.iter().sum::<f64>() / n;
        let error = (medians.iter().map(|median| (median - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let off = error / case.median_standard_error - 1.0;
        assert!(
            off.abs() < 0.06,
            "n = {}: {error} is not {}",
            case.values.len(),
            case.median_standard_error
        );
    }
}
