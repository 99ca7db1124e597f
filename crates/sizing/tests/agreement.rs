//! The distances of one pass against a plain simulation, request by request.

#![expect(
    clippy::cast_possible_truncation,
    reason = "all of this is test code, and its numbers are small"
)]

use hybrid_cache_sizing::curve::curve;
use hybrid_cache_sizing::simulate::Cache;
use hybrid_cache_sizing::stack::{Piece, Stack};
use hybrid_cache_sizing::trace::{Environment, Event, Recorded, Request, Use, VolumeCatalog};
use hybrid_cache_sizing::{Volume, Weight};
use proptest::prelude::*;

/// A volume's environments, and which of them are asked for one after the other.
#[derive(Clone, Debug)]
struct Case {
    catalog: VolumeCatalog,
    asked: Vec<u32>,
}

impl Case {
    fn recorded(&self) -> Recorded {
        let mut recorded = Recorded::default();
        *recorded.catalog.volume_mut(Volume::Python) = self.catalog.clone();
        recorded.events = self.asked.iter().map(|environment| event(*environment)).collect();
        recorded
    }

    /// Budgets around everything that matters: from nothing, below the largest environment, to more than all.
    fn budgets(&self) -> Vec<Weight> {
        let union = self.catalog.union();
        let part = |all: u64, of: u64| all * of / 12;
        let mut budgets: Vec<Weight> = (0..=13)
            .map(|at| Weight::new(part(union.bytes, at), u64::MAX))
            .collect();
        budgets.extend((0..=13).map(|at| Weight::new(u64::MAX, part(union.inodes, at))));
        budgets.extend((0..=13).flat_map(|at| {
            [at, at.max(5) - 5, at + 3].map(|inodes| Weight::new(part(union.bytes, at), part(union.inodes, inodes)))
        }));
        budgets
    }
}

fn event(environment: u32) -> Event {
    let asked = Use {
        environment,
        ..Use::default()
    };
    Event::Request(Request {
        uses: [Some(asked), None],
        ..Request::default()
    })
}

prop_compose! {
    fn cases()(
        sizes in prop::collection::vec((0u64..60, 0u64..9), 1..40),
        made_of in prop::collection::vec((prop::collection::vec(any::<prop::sample::Index>(), 0..9), 0u64..20, 0u64..4), 1..24),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0u32..3), 1..300),
    ) -> Case {
        let mut catalog = VolumeCatalog::default();
        for (at, (bytes, inodes)) in sizes.iter().enumerate() {
            catalog.part(&at.to_string(), Weight::new(*bytes, *inodes));
        }
        for (at, (parts, bytes, inodes)) in made_of.iter().enumerate() {
            let mut parts: Vec<u32> = parts.iter().map(|part| part.index(sizes.len()) as u32).collect();
            parts.sort_unstable();
            parts.dedup();
            let own = Weight::new(*bytes, *inodes);
            catalog.environment(Environment { key: at.to_string(), own, parts, ..Environment::default() });
        }
        // Small numbers come up more often, as popular environments do.
        let asked = picks.iter().map(|(pick, skew)| (pick.index(made_of.len()) >> skew) as u32).collect();
        Case { catalog, asked }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 60 } else { 600 }))]

    #[test]
    fn every_request_hits_at_exactly_the_budgets_of_its_distance(case in cases()) {
        let mut stack = Stack::new(&case.catalog);
        let distances: Vec<Option<Weight>> = case.asked.iter().map(|asked| stack.touch(*asked)).collect();
        for budget in case.budgets() {
            let mut cache = Cache::new(&case.catalog, budget);
            for (at, (asked, distance)) in case.asked.iter().zip(&distances).enumerate() {
                let expected = cache.request(*asked);
                let found = distance.is_some_and(|distance| distance.fits(budget));
                prop_assert_eq!(found, expected, "request {} at {:?}, distance {:?}", at, budget, distance);
            }
        }
    }

    #[test]
    fn a_miss_lacks_exactly_the_parts_whose_distance_exceeds_the_budget(case in cases()) {
        for budget in case.budgets() {
            let mut stack = Stack::new(&case.catalog);
            let mut cache = Cache::new(&case.catalog, budget);
            let mut pieces: Vec<Piece> = Vec::new();
            for asked in &case.asked {
                let missing = cache.missing(*asked);
                stack.touch_with(*asked, &mut pieces);
                let beyond = pieces.iter().filter(|piece| piece.distance.is_none_or(|distance| !distance.fits(budget)));
                prop_assert_eq!(beyond.map(|piece| piece.weight).sum::<Weight>(), missing);
                let whole: Weight = pieces.iter().map(|piece| piece.weight).sum();
                prop_assert_eq!(whole, case.catalog.weight(*asked));
                cache.request(*asked);
            }
        }
    }

    #[test]
    fn the_curve_counts_what_the_simulation_counts(case in cases()) {
        let recorded = case.recorded();
        let curve = curve(&recorded, Volume::Python).unwrap();
        prop_assert!(curve.is_exact());
        for budget in case.budgets() {
            let mut cache = Cache::new(&case.catalog, budget);
            let (mut hits, mut bytes) = (0, 0);
            for asked in &case.asked {
                if cache.request(*asked) {
                    hits += 1;
                    bytes += case.catalog.weight(*asked).bytes;
                }
            }
            let found = curve.hits(budget);
            prop_assert_eq!((found.requests, found.bytes, found.evictions), (hits, bytes, cache.evictions));
        }
    }

    #[test]
    fn the_smallest_budget_meets_the_share_and_one_byte_less_does_not(case in cases(), share in 0.0f64..1.0, bytes_per_inode in 0u64..12) {
        let curve = curve(&case.recorded(), Volume::Python).unwrap();
        let budget = |bytes: u64| Weight::new(bytes, bytes.checked_div(bytes_per_inode).unwrap_or(u64::MAX));
        let best = curve.best_hit_rate();
        match curve.smallest(share, bytes_per_inode) {
            None => prop_assert!(best < share, "{best} is enough for {share}"),
            Some(bytes) => {
                prop_assert!(curve.hit_rate(budget(bytes)) >= share - 1e-9);
                if bytes > 0 {
                    prop_assert!(curve.hit_rate(budget(bytes - 1)) < share);
                }
            }
        }
    }
}

/// Positions are renumbered when the tree is full; a long trace of few environments does that often.
#[test]
fn a_long_trace_of_few_environments_stays_exact() {
    let mut catalog = VolumeCatalog::default();
    let parts: Vec<u32> = (0..30u64)
        .map(|at| catalog.part(&at.to_string(), Weight::new(1 + at * 7 % 13, 1 + at % 3)))
        .collect();
    for at in 0..20usize {
        catalog.environment(Environment {
            key: at.to_string(),
            own: Weight::new(at as u64 % 4, 1),
            parts: (0..5).map(|of| parts[(at * 3 + of * of) % 30]).collect(),
            ..Environment::default()
        });
    }
    let mut stack = Stack::new(&catalog);
    let budget = Weight::new(60, 40);
    let mut cache = Cache::new(&catalog, budget);
    let mut state = 1u64;
    for at in 0..50_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let asked = ((state >> 33) % 20 * ((state >> 50) % 5) / 4) as u32;
        let found = stack.touch(asked).is_some_and(|distance| distance.fits(budget));
        assert_eq!(found, cache.request(asked), "request {at}");
    }
}

/// Below the largest environment, what a volume gives that keeps the environment in use.
#[test]
fn below_the_largest_environment_only_a_repeated_request_differs() {
    let mut catalog = VolumeCatalog::default();
    let mut add = |key: &str, bytes| {
        let own = Weight::new(bytes, 1);
        catalog.environment(Environment {
            key: key.to_owned(),
            own,
            ..Environment::default()
        })
    };
    let (large, small, other) = (add("large", 100), add("small", 10), add("other", 20));
    let asked = vec![small, other, small, large, large, small, large, small, small];
    let case = Case { catalog, asked };
    let curve = curve(&case.recorded(), Volume::Python).unwrap();
    let budget = Weight::new(50, 50);
    // small at 2 and at 8; what comes after `large` meets an empty volume. `large` itself is still there at 4.
    assert_eq!((curve.hits(budget).requests, curve.repeated_beyond(budget)), (2, 1));
    assert_eq!(curve.largest.bytes, 100);
    assert_eq!(curve.repeated_beyond(Weight::MAX), 0);
}
