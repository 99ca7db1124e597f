//! Points at which a series of runs changed: how seldom one is found that is none, and how surely one that is.

use hybrid_cache_report::history::{ChangePoint, find_changes};
use hybrid_cache_report::stats::SplitMix64;

/// Values near 1 with a standard deviation of some 5 %, and now and then one that takes half as long again.
fn noise(random: &mut SplitMix64, runs: usize) -> Vec<f64> {
    let mut one = || {
        let sum: f64 = (0..12).map(|_| random.below(1_000) as f64 / 1_000.0).sum();
        let slow = if random.below(20) == 0 { 1.5 } else { 1.0 };
        (1.0 + 0.05 * (sum - 6.0)) * slow
    };
    (0..runs).map(|_| one()).collect()
}

fn series(values: Vec<f64>) -> Vec<(usize, f64)> {
    values
        .into_iter()
        .enumerate()
        .map(|(run, value)| (run * 3, value))
        .collect()
}

#[test]
fn a_history_without_a_change_seldom_shows_one() {
    let mut random = SplitMix64::seeded(1);
    let shows_any = |_: &usize| {
        let history: Vec<_> = (0..6).map(|_| series(noise(&mut random, 30))).collect();
        find_changes(&history).iter().any(|changes| !changes.is_empty())
    };
    let false_ones = (0..200).filter(shows_any).count();
    // Expected are at most 10 of 200; 19 are exceeded in one of 500 cases.
    assert!(false_ones <= 19, "{false_ones} of 200");
}

#[test]
fn a_change_of_a_tenth_is_found_where_it_is_and_with_its_size() {
    let mut random = SplitMix64::seeded(2);
    let mut found = 0;
    for _ in 0..50 {
        let mut values = noise(&mut random, 40);
        values[28..].iter_mut().for_each(|value| *value *= 1.10);
        let changes = &find_changes(&[series(values)])[0];
        let near = |change: &&ChangePoint| change.after.abs_diff(28 * 3) <= 3 * 3;
        if let [only] = changes.iter().filter(near).collect::<Vec<_>>()[..] {
            found += 1;
            assert!((1.02..1.20).contains(&only.ratio.value), "{only:?}");
        }
    }
    assert!(found >= 40, "{found} of 50");
}

#[test]
fn two_changes_are_two_and_a_single_slow_run_is_none() {
    let step = |run: usize| match run {
        20..40 => 2.0,
        _ => 1.0,
    };
    let jitter = |run: usize| 1.0 + (run * 7 % 5) as f64 / 1000.0;
    let values = (0..60).map(|run| step(run) * jitter(run)).collect();
    let changes = &find_changes(&[series(values)])[0];
    let after: Vec<usize> = changes.iter().map(|change| change.after / 3).collect();
    assert_eq!(after, [20, 40]);
    assert!((changes[0].ratio.value - 2.0).abs() < 0.01 && changes[0].ratio.interval.is_some());
    assert!((changes[1].ratio.value - 0.5).abs() < 0.01);
    let mut once: Vec<f64> = (0..30).map(jitter).collect();
    once[15] = 9.0;
    assert_eq!(find_changes(&[series(once)])[0], []);
}

#[test]
fn few_or_equal_runs_show_nothing() {
    for values in [
        vec![],
        vec![1.0],
        vec![1.0, 1.0, 1.0, 1.0, 9.0, 9.0, 9.0],
        vec![1.0; 50],
    ] {
        assert_eq!(find_changes(&[series(values)])[0], []);
    }
}

#[test]
fn a_thousand_runs_take_no_time() {
    let mut random = SplitMix64::seeded(3);
    let mut values = noise(&mut random, 1_000);
    values[990..].iter_mut().for_each(|value| *value *= 1.3);
    let changes = &find_changes(&[series(values)])[0];
    assert_eq!(changes.last().unwrap().after, 990 * 3);
}
