//! The order of a bench run: interleaved, so that a machine that becomes slower affects every scenario equally.

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::Peer;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// A run through the driver.
    Run(Temperature),
    /// A run of a peer.
    Peer(Peer),
}

/// One step of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Position of the scenario in the list.
    pub scenario: usize,
    /// What is measured.
    pub measure: Measure,
}

/// Steps that share one fresh epoch for each scenario.
pub type Round = Vec<Step>;

/// Number of runs.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// First runs of each scenario: the number of rounds.
    pub first: u32,
    /// Cached runs of each scenario over all rounds.
    pub cached: u32,
    /// Runs of each scenario with `useCache: false` over all rounds.
    pub uncached: u32,
}

/// Plans the rounds of a bench run. `peers` has the existing peers of each scenario.
///
/// Each round starts with another scenario, and a run and its peers take turns at going first, so that none of them always finds
/// the page cache warmed by another.
pub fn rounds(counts: Counts, peers: &[Vec<Peer>]) -> Vec<Round> {
    (0..counts.first).map(|round| one_round(round, counts, peers)).collect()
}

fn one_round(round: u32, counts: Counts, peers: &[Vec<Peer>]) -> Round {
    let scenarios = peers.len();
    let order = || (0..scenarios).map(move |at| (at + round as usize) % scenarios);
    let mut steps = Vec::new();
    for scenario in order() {
        steps.extend(with_peers(scenario, Temperature::First, &peers[scenario], round));
        for _ in 0..share(counts.uncached, counts.first, round) {
            steps.push(Step {
                scenario,
                measure: Measure::Run(Temperature::Uncached),
            });
        }
    }
    for turn in 0..share(counts.cached, counts.first, round) {
        for scenario in order() {
            steps.extend(with_peers(scenario, Temperature::Cached, &peers[scenario], turn));
        }
    }
    steps
}

/// A run and its peers, starting with another one in each turn.
fn with_peers(scenario: usize, temperature: Temperature, peers: &[Peer], turn: u32) -> Vec<Step> {
    let own = peers.iter().filter(|peer| peer.temperature() == temperature);
    let measures = std::iter::once(Measure::Run(temperature)).chain(own.map(|peer| Measure::Peer(*peer)));
    let mut steps: Vec<Step> = measures.map(|measure| Step { scenario, measure }).collect();
    let first = turn as usize % steps.len();
    steps.rotate_left(first);
    steps
}

/// The number of `total` in one of `parts` equal shares; the first shares get the remainder.
fn share(total: u32, parts: u32, part: u32) -> u32 {
    total / parts + u32::from(part < total % parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(rounds: &[Round], scenario: usize, measure: Measure) -> usize {
        rounds
            .iter()
            .flatten()
            .filter(|step| **step == Step { scenario, measure })
            .count()
    }

    #[test]
    fn every_scenario_gets_exactly_what_was_asked_for() {
        let peers = [vec![Peer::PlainUv, Peer::DirectExec], vec![]];
        let rounds = rounds(
            Counts {
                first: 3,
                cached: 31,
                uncached: 2,
            },
            &peers,
        );
        for scenario in 0..2 {
            assert_eq!(count(&rounds, scenario, Measure::Run(Temperature::First)), 3);
            assert_eq!(count(&rounds, scenario, Measure::Run(Temperature::Cached)), 31);
            assert_eq!(count(&rounds, scenario, Measure::Run(Temperature::Uncached)), 2);
        }
        assert_eq!(count(&rounds, 0, Measure::Peer(Peer::DirectExec)), 31);
        assert_eq!(count(&rounds, 1, Measure::Peer(Peer::DirectExec)), 0);
    }

    #[test]
    fn within_a_round_nothing_is_cached_before_its_first_run() {
        for round in rounds(
            Counts {
                first: 4,
                cached: 8,
                uncached: 0,
            },
            &[vec![], vec![], vec![]],
        ) {
            for scenario in 0..3 {
                let measures: Vec<_> = round
                    .iter()
                    .filter(|step| step.scenario == scenario)
                    .map(|step| step.measure)
                    .collect();
                assert_eq!(measures[0], Measure::Run(Temperature::First));
                assert_eq!(measures.len(), 3);
            }
        }
    }

    #[test]
    fn cached_runs_of_different_scenarios_alternate_and_rounds_start_elsewhere() {
        let rounds = rounds(
            Counts {
                first: 2,
                cached: 4,
                uncached: 0,
            },
            &[vec![], vec![]],
        );
        let order: Vec<_> = rounds[0].iter().map(|step| step.scenario).collect();
        assert_eq!(order, [0, 1, 0, 1, 0, 1]);
        assert_eq!(rounds[1][0].scenario, 1);
    }

    #[test]
    fn a_run_and_its_peers_take_turns_at_going_first() {
        let counts = Counts {
            first: 1,
            cached: 3,
            uncached: 0,
        };
        let round = &rounds(counts, &[vec![Peer::BarePod, Peer::LocalDriver]])[0];
        let [run, bare, local] = [
            Measure::Run(Temperature::Cached),
            Measure::Peer(Peer::BarePod),
            Measure::Peer(Peer::LocalDriver),
        ];
        let measures: Vec<_> = round.iter().map(|step| step.measure).collect();
        assert_eq!(measures[0], Measure::Run(Temperature::First), "no peer is its measure");
        assert_eq!(measures[1..], [run, bare, local, bare, local, run, local, run, bare]);
    }
}
