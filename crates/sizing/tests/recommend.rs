//! The recommendation meets its targets in a plain simulation, and says why when nothing can.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "all of this is test code, and its numbers are small"
)]

use hybrid_cache_sizing::claim::FileSystem;
use hybrid_cache_sizing::recommend::Decided;
use hybrid_cache_sizing::simulate::Cache;
use hybrid_cache_sizing::synthetic::{Profile, generate, preset};
use hybrid_cache_sizing::trace::{Event, Recorded};
use hybrid_cache_sizing::{Source, Targets, Volume, Weight, recommend};

const GIB: u64 = 1 << 30;

/// A trace that takes a second in a debug build as well.
fn small() -> Profile {
    Profile {
        days: 14,
        requests_per_day: 300.0,
        ..preset("team").unwrap()
    }
}

/// Share of requests that hit a plain cache of that size, ageing counted as the curve counts it.
fn simulated(recorded: &Recorded, volume: Volume, budget: Weight) -> f64 {
    let mut cache = Cache::new(recorded.catalog.volume(volume), budget);
    let (mut requests, mut hits) = (0u32, 0u32);
    recorded
        .replay(&mut |event| {
            if let Event::Request(request) = event
                && let Some(asked) = request.on(volume)
            {
                requests += 1;
                hits += u32::from(cache.request(asked.environment) && !asked.is_due);
            }
        })
        .unwrap();
    f64::from(hits) / f64::from(requests)
}

#[test]
fn the_recommended_size_meets_the_target_in_a_simulation_and_less_does_not() {
    let recorded = generate(&small());
    let targets = Targets {
        hit: 0.7,
        ..Targets::default()
    };
    let found = recommend(&recorded, &targets).unwrap();
    assert!(found.is_reached() && found.volumes.len() == 2);
    for advice in &found.volumes {
        let budget = |bytes: u64| Weight::new(bytes, bytes / 16_384);
        let there = simulated(&recorded, advice.volume, budget(advice.at.budget_bytes));
        assert!((there - advice.at.hit_rate).abs() < 1e-9, "{advice:?}");
        assert!(there >= 0.7);
        let less = simulated(&recorded, advice.volume, budget(advice.at.budget_bytes - 4096));
        assert!(advice.decided_by != Decided::Hit || less < 0.7, "{less}: {advice:?}");
        assert!(advice.claim.gib * GIB > advice.at.budget_bytes + advice.claim.building_bytes);
        // What is reported of the claim is what its default budget gives, which is more than the target needs.
        assert!(advice.on_claim.budget_bytes >= advice.at.budget_bytes, "{advice:?}");
        let there = simulated(&recorded, advice.volume, budget(advice.on_claim.budget_bytes));
        assert!((there - advice.on_claim.hit_rate).abs() < 1e-9, "{advice:?}");
        let room = FileSystem::Ext4.room_of(advice.claim.gib * GIB).bytes;
        assert_eq!(advice.on_claim.budget_bytes, room / 100 * 88 - advice.rest.bytes);
        let interval = advice.hit_interval.unwrap();
        assert!(
            interval.low <= there && there <= interval.high && interval.high - interval.low < 0.2,
            "{interval:?}"
        );
    }
}

#[test]
fn a_curve_only_rises_and_waiting_only_falls() {
    let recorded = generate(&small());
    let found = recommend(
        &recorded,
        &Targets {
            hit: 0.8,
            ..Targets::default()
        },
    )
    .unwrap();
    let python = found.advice_for(Volume::Python).unwrap();
    assert!(python.curve.len() > 40);
    for pair in python.curve.windows(2) {
        assert!(pair[0].budget_bytes < pair[1].budget_bytes);
        assert!(pair[0].hit_rate <= pair[1].hit_rate && pair[0].byte_hit_rate <= pair[1].byte_hit_rate);
        assert!(pair[0].wait_s_per_day >= pair[1].wait_s_per_day, "{pair:?}");
        assert!(pair[0].hit_low <= pair[0].hit_rate && pair[0].hit_rate <= pair[0].hit_high);
    }
    let (smaller, larger) = (python.smaller.unwrap(), python.larger.unwrap());
    assert!(smaller.gib < python.claim.gib && python.claim.gib < larger.gib);
    assert!(smaller.at.hit_rate <= python.on_claim.hit_rate && python.on_claim.hit_rate <= larger.at.hit_rate);
    // What keeps the volume from being smaller is named, and it costs something.
    assert!(!python.held_up_by.is_empty() && python.held_up_by[0].name.len() > 2);
    assert!(python.less.unwrap().s_per_day.unwrap() > 0.0);
}

#[test]
fn a_target_that_no_size_reaches_says_so_and_gives_the_best() {
    let recorded = generate(&small());
    let found = recommend(
        &recorded,
        &Targets {
            hit: 0.9999,
            ..Targets::default()
        },
    )
    .unwrap();
    let python = found.advice_for(Volume::Python).unwrap();
    assert!(!found.is_reached() && python.decided_by == Decided::Best && python.best_hit_rate < 0.9999);
    assert!(python.best_hit_rate - python.at.hit_rate <= 0.0011, "{python:?}");
    // Each request is a hit, a first one, or due.
    let hits = (python.best_hit_rate * python.requests as f64).round() as u64;
    assert_eq!(hits + python.first + python.due, python.requests);
    // Nothing is as fast as that, since some requests must be prepared.
    let impossible = Targets {
        hit: 0.5,
        p95_us: Some(1.0),
        ..Targets::default()
    };
    assert!(!recommend(&recorded, &impossible).unwrap().is_reached());
}

#[test]
fn a_latency_target_may_ask_for_more_than_the_hit_rate_does() {
    let recorded = generate(&small());
    let by_hit = recommend(
        &recorded,
        &Targets {
            hit: 0.3,
            ..Targets::default()
        },
    )
    .unwrap();
    let loose = by_hit.advice_for(Volume::Python).unwrap();
    let wanted_us = loose.curve.last().unwrap().waits.p95_us * 1.3;
    let by_p95 = recommend(
        &recorded,
        &Targets {
            hit: 0.3,
            p95_us: Some(wanted_us),
            ..Targets::default()
        },
    )
    .unwrap();
    let python = by_p95.advice_for(Volume::Python).unwrap();
    assert!(loose.at.waits.p95_us > wanted_us, "{loose:?}");
    assert_eq!(python.decided_by, Decided::P95);
    assert!(python.at.waits.p95_us <= wanted_us && python.at.budget_bytes > loose.at.budget_bytes);
}

#[test]
fn no_size_is_below_the_largest_environment() {
    let recorded = generate(&small());
    let found = recommend(
        &recorded,
        &Targets {
            hit: 0.01,
            ..Targets::default()
        },
    )
    .unwrap();
    let python = found.advice_for(Volume::Python).unwrap();
    assert_eq!(python.decided_by, Decided::Largest);
    assert!(python.at.budget_bytes >= python.largest.bytes && python.less.is_none());
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_does_not() {
    let one = generate(&small());
    assert_eq!(one.events, generate(&small()).events);
    assert_ne!(one.events, generate(&Profile { seed: 77, ..small() }).events);
    let requests = one.events.len() as f64 / 14.0;
    assert!((250.0..350.0).contains(&requests), "{requests} a day");
    let times: Vec<u64> = one
        .events
        .iter()
        .map(|event| match event {
            Event::Request(request) => request.at_us,
            Event::Resident(..) => 0,
        })
        .collect();
    assert!(times.is_sorted());
    // Nights are quiet: hardly anything comes between one and three.
    let at_night = times
        .iter()
        .filter(|us| (1..3).contains(&(**us / 3_600_000_000 % 24)))
        .count();
    assert!(
        (at_night as f64) < times.len() as f64 * 0.02,
        "{at_night} of {}",
        times.len()
    );
}

#[test]
fn every_preset_covers_its_days_with_both_volumes() {
    for name in ["team", "ci", "agents"] {
        let profile = Profile {
            days: 2,
            ..preset(name).unwrap()
        };
        let recorded = generate(&profile);
        assert!(recorded.events.len() as f64 > profile.requests_per_day, "{name}");
        for volume in Volume::ALL {
            let union = recorded.catalog.volume(volume).union();
            assert!(
                union.bytes > 100 << 20 && union.inodes > 100,
                "{name} {volume:?}: {union:?}"
            );
        }
    }
    assert_eq!(preset("nobody"), None);
}
