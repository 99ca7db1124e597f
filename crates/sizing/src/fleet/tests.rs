//! Tests that compare fleets with one plain cache, and tests of forbidden states.

use super::*;
use crate::simulate::Cache;
use crate::synthetic::{Profile, generate, preset};
use crate::trace::{Met as Answer, Recorded, Request};

fn trace() -> Recorded {
    generate(&Profile {
        days: 6,
        ..preset("team").unwrap()
    })
}

fn fleet(trace: &Recorded, nodes: usize, tenths: u64) -> Fleet {
    let union = trace.catalog.volume(Volume::Python).union();
    Fleet {
        nodes,
        budget: Weight::new(union.bytes / 10 * tenths, union.inodes),
        tasks_per_request: 1,
        warm_up_tasks: 0,
    }
}

fn of(advice: &FleetAdvice, placement: Placement) -> Placed {
    *advice
        .placed
        .iter()
        .find(|placed| placed.placement == placement)
        .unwrap()
}

#[test]
fn the_smallest_claim_reaches_the_target_and_a_smaller_one_does_not() {
    let trace = trace();
    let union = trace.catalog.volume(Volume::Python).union();
    let budget = |gib: u64| (gib > 1).then(|| Weight::new(union.bytes / 20 * gib, union.inodes));
    let hits = |nodes: usize, gib: u64| {
        let fleet = Fleet {
            budget: budget(gib).unwrap(),
            ..fleet(&trace, nodes, 1)
        };
        let advice = compare(&trace, Volume::Python, &fleet).unwrap().unwrap();
        of(&advice, Placement::Affinity).hit_rate
    };
    let smallest = |nodes: usize, hit: f64| {
        let fleet = fleet(&trace, nodes, 1);
        smallest_claim(&trace, (Volume::Python, &fleet), (hit, 20), budget).unwrap()
    };
    let target = hits(1, 12);
    let [one, four] = [1, 4].map(|nodes| smallest(nodes, target).unwrap());
    assert!(hits(1, one) >= target && one > 2 && hits(1, one - 1) < target, "{one}");
    assert!(four < one, "{four} on each of four nodes, {one} on one");
    assert_eq!(smallest(1, 1.01), None);
}

#[test]
fn one_node_is_one_volume_whatever_the_placement() {
    let trace = trace();
    let fleet = fleet(&trace, 1, 4);
    let catalog = trace.catalog.volume(Volume::Python);
    let mut cache = Cache::new(catalog, fleet.budget);
    let (mut hits, mut asked, mut fetched) = (0, 0, 0);
    for event in &trace.events {
        let Event::Request(request) = event else { continue };
        let Some(on) = request.on(Volume::Python) else { continue };
        fetched += cache.missing(on.environment).bytes;
        hits += u64::from(cache.request(on.environment) && !on.is_due);
        asked += 1;
    }
    let advice = compare(&trace, Volume::Python, &fleet).unwrap().unwrap();
    for placed in &advice.placed {
        assert_eq!(
            (placed.tasks, placed.held_bytes),
            (asked, cache.held().bytes),
            "{placed:?}"
        );
        assert!((placed.hit_rate - share(hits, asked)).abs() < 1e-12, "{placed:?}");
        assert!((placed.fetched_per_1000_bytes - 1000.0 * share(fetched, asked)).abs() < 1e-3);
        assert!((placed.evicted_per_1000 - 1000.0 * share(cache.evictions, asked)).abs() < 1e-9);
    }
}

#[test]
fn sending_tasks_to_their_environment_saves_what_spreading_costs() {
    let trace = trace();
    let fleet = Fleet {
        tasks_per_request: 10,
        ..fleet(&trace, 40, 2)
    };
    let advice = compare(&trace, Volume::Python, &fleet).unwrap().unwrap();
    let [random, turn, near, shared] = Placement::ALL.map(|placement| of(&advice, placement));
    assert!((random.hit_rate - turn.hit_rate).abs() < 0.02, "{random:?} {turn:?}");
    // All nodes are full either way; what they hold is of more use.
    assert!(near.hit_rate > random.hit_rate + 0.5, "{near:?} {random:?}");
    assert!(
        near.fetched_per_1000_bytes < random.fetched_per_1000_bytes,
        "{near:?} {random:?}"
    );
    assert!(shared.held_bytes < near.held_bytes, "{shared:?} {near:?}");
}

/// Requests every 10 ms for environments without parts, each drawn by `draw` from the number of the request.
fn requests(environments: u32, draw: impl Fn(u64) -> u32) -> Recorded {
    let mut trace = Recorded::default();
    let catalog = trace.catalog.volume_mut(Volume::Python);
    for key in 0..environments {
        catalog.environment(crate::trace::Environment {
            key: key.to_string(),
            own: Weight::new(1000, 1),
            ..Default::default()
        });
    }
    let request = |at: u64| {
        let on = Use {
            environment: draw(at),
            met: Answer::Hit,
            ..Use::default()
        };
        Event::Request(Request {
            at_us: at * 10_000,
            uses: [Some(on), None],
            wait_us: None,
            held_us: 0,
        })
    };
    trace.events = (0..20_000).map(request).collect();
    trace
}

fn near(trace: &Recorded, nodes: usize) -> Placed {
    let fleet = Fleet {
        nodes,
        budget: Weight::MAX,
        tasks_per_request: 1,
        warm_up_tasks: 8000,
    };
    of(
        &compare(trace, Volume::Python, &fleet).unwrap().unwrap(),
        Placement::Affinity,
    )
}

#[test]
fn many_environments_overload_no_node_and_each_is_on_two_at_most() {
    let mut random = Random::seeded(3);
    let drawn: Vec<u32> = (0..20_000).map(|_| narrow(random.below(400))).collect();
    let placed = near(&requests(400, |at| drawn[index(at)]), 20);
    assert!(placed.most_load.unwrap() < 1.5 && placed.hit_rate > 0.95, "{placed:?}");
    assert!(placed.held_bytes <= 2 * 400 * 1000, "{placed:?}");
}

#[test]
fn a_popular_environment_has_two_nodes_and_no_more() {
    let placed = near(&requests(2, |at| u32::from(at % 50 == 0)), 20);
    assert!(placed.hit_rate > 0.99 && placed.held_bytes <= 4000, "{placed:?}");
    let most = placed.most_load.unwrap();
    assert!(
        (9.0..11.0).contains(&most),
        "half of the load of twenty nodes: {placed:?}"
    );
}

#[test]
fn a_fleet_with_little_to_do_has_a_highest_load_as_well() {
    let trace = trace();
    let fleet = fleet(&trace, 200, 3);
    let advice = compare(&trace, Volume::Python, &fleet).unwrap().unwrap();
    let most = of(&advice, Placement::Affinity).most_load.unwrap();
    assert!(most >= 1.0, "{most}");
    assert_eq!(of(&advice, Placement::Random).most_load, None);
}

#[test]
fn playing_some_of_the_nodes_that_are_alike_gives_the_same() {
    let trace = trace();
    let small = Fleet {
        tasks_per_request: 300,
        ..fleet(&trace, ALIKE, 3)
    };
    let large = Fleet {
        nodes: 2 * ALIKE,
        tasks_per_request: 600,
        ..small
    };
    let advice = [small, large].map(|fleet| compare(&trace, Volume::Python, &fleet).unwrap().unwrap());
    let [small, large] = advice.map(|advice| of(&advice, Placement::Random));
    assert!((small.hit_rate - large.hit_rate).abs() < 0.01, "{small:?} {large:?}");
    let twice = float(large.held_bytes) / float(small.held_bytes);
    assert!((1.9..2.1).contains(&twice), "{twice}");
}
