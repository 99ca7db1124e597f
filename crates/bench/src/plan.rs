//! The order of a bench run: rounds that each hold every scenario, in an order drawn at random.
//!
//! ```text
//! round   first runs, if it has any, each with its peers; then up to three turns
//! turn    every scenario once, cached, each with its peers beside it
//! ```
//!
//! A round is the unit of evidence: samples of one round resemble each other. So there are many short rounds rather than a few long
//! ones, and not each of them has first runs, which take long.

use hybrid_cache_model::Temperature;
use hybrid_cache_model::level::Level;
use hybrid_cache_model::sample::{BlockRecord, Peer, PlanPlace};
use hybrid_cache_report::stats::SplitMix64;

/// Turns of cached runs in a round.
pub const TURNS_OF_A_ROUND: u32 = 3;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// A run through the driver.
    Run(Temperature),
    /// A run of a peer.
    Peer(Peer),
    /// A run at a level of cold.
    Level(Level),
}

/// One step of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Position of the scenario in the list.
    pub scenario: usize,
    /// What is measured.
    pub measure: Measure,
}

/// A step with its place in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// What is measured.
    pub step: Step,
    /// Its round and its turn.
    pub place: PlanPlace,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Its steps in order.
    pub steps: Vec<PlannedStep>,
    /// True if it has first runs, which start in fresh caches: those of the rounds before are of no further use.
    pub is_fresh: bool,
}

/// Rounds that are drawn together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its rounds in order.
    pub rounds: Vec<Round>,
    /// What the record says of it.
    pub record: BlockRecord,
}

/// Number of runs.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// First runs of each scenario, at most one in a round.
    pub first: u32,
    /// Cached runs of each scenario over all rounds.
    pub cached: u32,
    /// Runs of each scenario with `useCache: false` over all rounds.
    pub uncached: u32,
}

impl Counts {
    /// Number of rounds.
    pub fn rounds(self) -> u32 {
        self.first.max(self.cached.div_ceil(TURNS_OF_A_ROUND)).max(1)
    }

    /// The same first runs in so many rounds of cached ones.
    pub fn of_rounds(self, rounds: u32) -> Counts {
        Counts {
            first: self.first.min(rounds),
            cached: TURNS_OF_A_ROUND * rounds,
            uncached: 0,
        }
    }
}

/// Number of runs at each level of cold.
#[derive(Clone, Copy, Debug)]
pub struct LevelCounts {
    /// Runs of each scenario at each level, one in each round.
    pub each: u32,
    /// Runs of each scenario from nothing, at most as many: each brings all tools.
    pub nothing: u32,
}

/// Draws rounds with one turn each, in which a scenario's levels stand side by side in an order drawn at random. The same seed
/// draws the same order.
pub fn levels(counts: LevelCounts, scenarios: usize, seed: u32) -> Block {
    let peers = vec![Vec::new(); scenarios];
    let mut drawing = Drawing {
        random: SplitMix64::seeded(u64::from(seed)),
        peers: &peers,
        round: 0,
        turn: 0,
    };
    let nothing = counts.nothing.min(counts.each);
    let rounds = (0..counts.each).map(|round| drawing.level_round(spread(nothing, counts.each, round)));
    Block {
        rounds: rounds.collect(),
        record: BlockRecord {
            seed,
            rounds: counts.each,
        },
    }
}

/// Draws the rounds until the next look of a run whose number of rounds is open. They follow `done` rounds. The first of them has
/// first runs, so that further rounds do not all rest on one filling of the caches; the first stretch has as many as `counts` says.
/// The same seed draws the same order at the same look.
pub fn stretch(counts: Counts, peers: &[Vec<Peer>], seed: u32, (done, rounds): (u32, u32)) -> Vec<Round> {
    let first = match done {
        0 => counts.first,
        // A client of a service has one first run.
        _ => u32::from(counts.first > 1),
    };
    let counts = Counts { first, ..counts }.of_rounds(rounds);
    drawn(counts, peers, u64::from(seed) | u64::from(done) << 32, done)
}

/// Draws a block of rounds. `peers` has the existing peers of each scenario, `before` the blocks that were measured before it.
/// The same seed draws the same order.
pub fn block(counts: Counts, peers: &[Vec<Peer>], seed: u32, before: &[BlockRecord]) -> Block {
    let first_round: u32 = before.iter().map(|block| block.rounds).sum();
    let rounds = drawn(counts, peers, u64::from(seed), first_round);
    let record = BlockRecord {
        seed,
        rounds: counts.rounds(),
    };
    Block { rounds, record }
}

fn drawn(counts: Counts, peers: &[Vec<Peer>], seed: u64, first_round: u32) -> Vec<Round> {
    let mut drawing = Drawing {
        random: SplitMix64::seeded(seed),
        peers,
        round: first_round,
        // Turns only have to differ from those of other rounds.
        turn: first_round * (counts.cached + counts.uncached + 2),
    };
    let rounds = counts.rounds();
    (0..rounds).map(|round| drawing.round(round, rounds, counts)).collect()
}

struct Drawing<'a> {
    random: SplitMix64,
    peers: &'a [Vec<Peer>],
    round: u32,
    turn: u32,
}

impl Drawing<'_> {
    fn round(&mut self, at: u32, rounds: u32, counts: Counts) -> Round {
        let mut steps = Vec::new();
        let is_fresh = spread(counts.first, rounds, at);
        if is_fresh {
            self.turn(Temperature::First, &mut steps);
        }
        for _ in 0..share(counts.uncached, rounds, at) {
            self.turn(Temperature::Uncached, &mut steps);
        }
        for _ in 0..share(counts.cached, rounds, at) {
            self.turn(Temperature::Cached, &mut steps);
        }
        self.round += 1;
        Round { steps, is_fresh }
    }

    fn level_round(&mut self, from_nothing: bool) -> Round {
        let wanted = |level: &Level| from_nothing || *level != Level::Nothing;
        let mut steps = Vec::new();
        self.turn_of(&mut steps, |_| {
            Level::ALL.into_iter().filter(wanted).map(Measure::Level).collect()
        });
        self.round += 1;
        Round { steps, is_fresh: false }
    }

    /// Every scenario once, each with its peers beside it.
    fn turn(&mut self, temperature: Temperature, steps: &mut Vec<PlannedStep>) {
        self.turn_of(steps, |peers| {
            let own = peers.iter().filter(|peer| peer.temperature() == temperature);
            let own = own.map(|peer| Measure::Peer(*peer));
            std::iter::once(Measure::Run(temperature)).chain(own).collect()
        });
    }

    /// Every scenario once, each with what is measured side by side.
    fn turn_of(&mut self, steps: &mut Vec<PlannedStep>, measures: impl Fn(&[Peer]) -> Vec<Measure>) {
        let place = PlanPlace {
            round: self.round,
            turn: self.turn,
        };
        let mut scenarios: Vec<usize> = (0..self.peers.len()).collect();
        self.shuffle(&mut scenarios);
        for scenario in scenarios {
            let mut measures = measures(&self.peers[scenario]);
            self.shuffle(&mut measures);
            let step = |measure| PlannedStep {
                step: Step { scenario, measure },
                place,
            };
            steps.extend(measures.into_iter().map(step));
        }
        self.turn += 1;
    }

    /// Fisher and Yates: every order is equally likely.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.random.below(last + 1));
        }
    }
}

/// True for `count` of `rounds`, evenly spread, the first one included.
fn spread(count: u32, rounds: u32, at: u32) -> bool {
    let until = |round: u32| (u64::from(round) * u64::from(count)).div_ceil(u64::from(rounds));
    until(at + 1) > until(at)
}

/// The number of `total` in one of `parts` equal shares; the first shares get the remainder.
fn share(total: u32, parts: u32, part: u32) -> u32 {
    total / parts + u32::from(part < total % parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn counts(first: u32, cached: u32, uncached: u32) -> Counts {
        Counts {
            first,
            cached,
            uncached,
        }
    }

    fn planned(counts: Counts, peers: &[Vec<Peer>], seed: u32) -> Vec<Round> {
        block(counts, peers, seed, &[]).rounds
    }

    fn count(rounds: &[Round], scenario: usize, measure: Measure) -> usize {
        let all = rounds.iter().flat_map(|round| &round.steps);
        all.filter(|planned| planned.step == Step { scenario, measure }).count()
    }

    #[test]
    fn every_scenario_gets_exactly_what_was_asked_for() {
        let peers = [vec![Peer::PlainUv, Peer::DirectExec], vec![]];
        for (first, cached, uncached) in [(3, 31, 2), (1, 100, 0), (5, 2, 7), (4, 0, 0), (12, 36, 1)] {
            let rounds = planned(counts(first, cached, uncached), &peers, 1);
            for scenario in 0..2 {
                let of = |temperature| count(&rounds, scenario, Measure::Run(temperature));
                let all = [Temperature::First, Temperature::Cached, Temperature::Uncached].map(of);
                assert_eq!(all, [first, cached, uncached].map(|count| count as usize));
            }
            assert_eq!(count(&rounds, 0, Measure::Peer(Peer::DirectExec)), cached as usize);
            assert_eq!(count(&rounds, 0, Measure::Peer(Peer::PlainUv)), first as usize);
            assert_eq!(count(&rounds, 1, Measure::Peer(Peer::DirectExec)), 0);
            assert!(rounds[0].is_fresh, "nothing is cached before the first run");
        }
    }

    #[test]
    fn a_round_has_first_runs_before_its_cached_ones_and_few_turns() {
        let rounds = planned(counts(3, 30, 0), &[vec![], vec![], vec![]], 7);
        let fresh: Vec<usize> = (0..rounds.len()).filter(|at| rounds[*at].is_fresh).collect();
        assert_eq!((rounds.len(), fresh), (10, vec![0, 3, 6]));
        for round in &rounds {
            let cached = round
                .steps
                .iter()
                .position(|planned| planned.step.measure == Measure::Run(Temperature::Cached));
            let late = round.steps[cached.unwrap()..].iter();
            assert!(
                late.clone()
                    .all(|planned| planned.step.measure != Measure::Run(Temperature::First))
            );
            assert_eq!(late.count(), 9);
        }
    }

    #[test]
    fn the_seed_draws_the_order_and_no_scenario_always_follows_the_same_one() {
        let orders = |seed| -> Vec<Vec<usize>> {
            let rounds = planned(counts(1, 30, 0), &[vec![], vec![], vec![]], seed);
            let steps: Vec<usize> = rounds
                .iter()
                .flat_map(|round| &round.steps)
                .map(|at| at.step.scenario)
                .collect();
            steps.chunks(3).map(<[usize]>::to_vec).collect()
        };
        assert_eq!(orders(3), orders(3));
        assert_ne!(orders(3), orders(4));
        let distinct: std::collections::HashSet<Vec<usize>> = orders(3).into_iter().collect();
        assert_eq!(distinct.len(), 6, "all orders of three occur in 31 turns");
    }

    #[test]
    fn a_run_stands_beside_its_peers_and_each_goes_first_at_times() {
        let rounds = planned(counts(1, 60, 0), &[vec![Peer::BarePod, Peer::LocalDriver], vec![]], 11);
        let mut first = std::collections::HashMap::new();
        for round in &rounds {
            let own: Vec<&PlannedStep> = round
                .steps
                .iter()
                .filter(|planned| planned.step.scenario == 0)
                .collect();
            for turn in own
                .chunk_by(|one, other| one.place.turn == other.place.turn)
                .filter(|turn| turn.len() > 1)
            {
                assert_eq!(turn.len(), 3);
                *first.entry(turn[0].step.measure).or_insert(0) += 1;
            }
            let places: Vec<usize> = (0..round.steps.len())
                .filter(|at| round.steps[*at].step.scenario == 0)
                .collect();
            let in_turns = places.chunk_by(|one, other| round.steps[*one].place.turn == round.steps[*other].place.turn);
            assert!(
                in_turns
                    .clone()
                    .all(|turn| turn.windows(2).all(|pair| pair[1] == pair[0] + 1)),
                "no stranger between"
            );
        }
        assert!(first.len() == 3 && first.values().all(|times| *times > 8), "{first:?}");
    }

    #[test]
    fn stretches_follow_each_other_and_a_service_gets_no_second_first_run() {
        let stretches =
            |first: u32| [(0, 12), (12, 6), (18, 9)].map(|of| stretch(counts(first, 36, 0), &[vec![]], 5, of));
        let fresh = |rounds: &[Round]| -> Vec<usize> { (0..rounds.len()).filter(|at| rounds[*at].is_fresh).collect() };
        let [one, two, three] = stretches(3);
        assert_eq!(
            (fresh(&one), fresh(&two), fresh(&three)),
            (vec![0, 4, 8], vec![0], vec![0])
        );
        let service = stretches(1);
        assert_eq!(service.each_ref().map(|rounds| fresh(rounds).len()), [1, 0, 0]);
        let all: Vec<&PlannedStep> = [&one, &two, &three]
            .into_iter()
            .flatten()
            .flat_map(|round| &round.steps)
            .collect();
        let order: Vec<(u32, u32)> = all.iter().map(|step| (step.place.round, step.place.turn)).collect();
        assert!(
            order
                .windows(2)
                .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 < pair[1].1),
            "{order:?}"
        );
        assert_eq!(order.last().unwrap().0, 26);
        assert_eq!(stretches(3), stretches(3), "the seed draws the order");
    }

    #[test]
    fn a_second_block_has_rounds_and_turns_of_its_own() {
        let first = block(counts(2, 12, 0), &[vec![]], 1, &[]);
        let second = block(counts(2, 12, 0), &[vec![]], 2, &[first.record]);
        let places = |block: &Block| -> Vec<PlanPlace> {
            block
                .rounds
                .iter()
                .flat_map(|round| &round.steps)
                .map(|planned| planned.place)
                .collect()
        };
        let last = *places(&first).last().unwrap();
        assert_eq!((first.record.rounds, second.record.rounds), (4, 4));
        assert!(
            places(&second)
                .iter()
                .all(|place| place.round > last.round && place.turn > last.turn)
        );
        assert!(second.rounds[0].is_fresh);
    }

    #[test]
    fn levels_of_a_scenario_stand_side_by_side_in_an_order_drawn_at_random() {
        let counts = LevelCounts { each: 12, nothing: 3 };
        let block = levels(counts, 2, 7);
        assert_eq!((block.rounds.len(), block.record.rounds), (12, 12));
        let mut orders = std::collections::HashSet::new();
        let mut from_nothing = 0;
        for (number, round) in (0..).zip(&block.rounds) {
            assert!(
                !round.is_fresh
                    && round.steps.iter().all(|step| step.place
                        == PlanPlace {
                            round: number,
                            turn: number
                        })
            );
            let by_scenario: Vec<&[PlannedStep]> = round
                .steps
                .chunk_by(|one, next| one.step.scenario == next.step.scenario)
                .collect();
            assert_eq!(by_scenario.len(), 2, "no stranger between");
            for steps in by_scenario {
                let own: Vec<Level> = steps
                    .iter()
                    .map(|step| match step.step.measure {
                        Measure::Level(level) => level,
                        other => panic!("{other:?}"),
                    })
                    .collect();
                let mut sorted = own.clone();
                sorted.sort_unstable();
                from_nothing += usize::from(sorted[0] == Level::Nothing);
                assert!(sorted == Level::ALL || sorted == Level::ALL[1..], "{sorted:?}");
                orders.insert(own);
            }
        }
        assert_eq!(from_nothing, 6, "three of each scenario");
        assert!(orders.len() > 10, "{orders:?}");
        assert_eq!(levels(counts, 2, 7), block);
        assert_ne!(levels(counts, 2, 8), block);
        let few = LevelCounts { each: 1, nothing: 3 };
        assert_eq!(levels(few, 1, 7).rounds[0].steps.len(), 5);
    }
}
