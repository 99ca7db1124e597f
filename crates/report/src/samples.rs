//! What a record holds: its scenarios, the samples that count with their rounds and turns, and whether it was taken on a
//! cluster or through a service.

use std::collections::{HashMap, HashSet};

use hybrid_cache_model::sample::{Acceptance, Peer, PeerSample, PlanPlace, RunRecord, Sample};
use hybrid_cache_model::{Scenario, Temperature};

use crate::stats::{Evidence, durations};

/// Turns of cached runs in a round of a record that does not name its rounds.
const TURNS_OF_A_ROUND: usize = 3;

/// Number of samples of a record, those at levels of cold included.
pub fn taken_samples(record: &RunRecord) -> usize {
    let levels = record.levels.as_ref().map_or(0, |levels| levels.samples.len());
    record.samples.len() + levels
}

/// Samples of a record that failed.
pub fn failed_samples(record: &RunRecord) -> usize {
    let levels = record.levels.iter().flat_map(|levels| &levels.samples);
    let levels = levels.map(|sample| &sample.acceptance);
    let all = record.samples.iter().map(|sample| &sample.acceptance).chain(levels);
    all.filter(|acceptance| matches!(acceptance, Acceptance::Failed { .. }))
        .count()
}

/// Names of the record's scenarios, then of those that only samples name (a record whose header was lost).
pub(crate) fn scenario_names(record: &RunRecord) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let declared = record.scenarios.iter().map(|scenario| scenario.name.as_str());
    for name in declared.chain(record.samples.iter().map(|sample| sample.scenario.as_str())) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The scenario of that name as it was measured.
pub(crate) fn declared<'a>(record: &'a RunRecord, name: &str) -> Option<&'a Scenario> {
    record.scenarios.iter().find(|scenario| scenario.name == name)
}

/// The samples of a group that count, in the order in which they were taken.
pub(crate) fn accepted<'a>(record: &'a RunRecord, scenario: &str, temperature: Temperature) -> Vec<&'a Sample> {
    let mut samples: Vec<&Sample> = record
        .samples
        .iter()
        .filter(|sample| sample.scenario == scenario && sample.temperature == temperature)
        .filter(|sample| sample.acceptance == Acceptance::Accepted)
        .collect();
    samples.sort_by_key(|sample| sample.sequence);
    samples
}

/// A duration with its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Timed {
    pub place: PlanPlace,
    pub us: u64,
}

/// A record with the place of each sample in the plan.
pub(crate) struct Measured<'a> {
    pub record: &'a RunRecord,
    /// By position in the order; only for samples that do not name their place.
    derived: HashMap<u32, PlanPlace>,
}

impl<'a> Measured<'a> {
    /// Finds the place of each sample.
    pub(crate) fn new(record: &'a RunRecord) -> Measured<'a> {
        let derived = derived_places(record);
        Measured { record, derived }
    }

    /// True if its end depends on its intervals, so that each error counts twice.
    pub(crate) fn looked_at_repeatedly(&self) -> bool {
        self.record.until.is_some()
    }

    /// What durations of one group show about their median.
    pub(crate) fn durations(&self, durations_us: &[(u32, u64)]) -> Evidence {
        durations(durations_us).looked_at_repeatedly(self.looked_at_repeatedly())
    }

    /// The place of a sample in the plan.
    pub(crate) fn place(&self, sequence: u32, named: Option<PlanPlace>) -> PlanPlace {
        let derived = || self.derived.get(&sequence).copied();
        // What has no place at all stands by itself.
        let alone = PlanPlace {
            round: sequence,
            turn: sequence,
        };
        named.or_else(derived).unwrap_or(alone)
    }

    /// Samples with a duration of each, such as its wall time, in the order in which they were taken.
    pub(crate) fn timed(&self, samples: &[&Sample], of: fn(&Sample) -> u64) -> Vec<Timed> {
        let timed = |sample: &&Sample| Timed {
            place: self.place(sample.sequence, sample.place),
            us: of(sample),
        };
        samples.iter().map(timed).collect()
    }

    /// The durations of a peer of a scenario, such as its wall times, in microseconds.
    pub(crate) fn peer(&self, name: &str, peer: Peer, of: fn(&PeerSample) -> Option<u64>) -> Vec<Timed> {
        let own = self.record.peers.iter();
        let own = own.filter(|sample| sample.scenario == name && sample.peer == peer);
        own.filter_map(|sample| {
            let place = self.place(sample.sequence, sample.place);
            Some(Timed { place, us: of(sample)? })
        })
        .collect()
    }
}

/// The durations without their places.
pub(crate) fn only_us(timed: &[Timed]) -> Vec<u64> {
    timed.iter().map(|timed| timed.us).collect()
}

/// The durations with their rounds.
pub(crate) fn in_rounds(timed: &[Timed]) -> Vec<(u32, u64)> {
    timed.iter().map(|timed| (timed.place.round, timed.us)).collect()
}

/// What stood side by side: the round, our duration and theirs, in microseconds.
pub(crate) fn pairs(ours: &[Timed], theirs: &[Timed]) -> Vec<(u32, u64, u64)> {
    let by_turn: HashMap<u32, u64> = theirs.iter().map(|timed| (timed.place.turn, timed.us)).collect();
    let pair = |own: &Timed| Some((own.place.round, own.us, *by_turn.get(&own.place.turn)?));
    ours.iter().filter_map(pair).collect()
}

/// What stands at one position of the order.
struct Item<'a> {
    sequence: u32,
    scenario: &'a str,
    /// `None` for a run of ours.
    peer: Option<Peer>,
    temperature: Temperature,
}

/// Rounds and turns of a record from before they were written down, from the order alone. A turn ends before the first thing
/// that it has already had, or where first runs give way to cached ones; a few turns of cached runs make a round.
fn derived_places(record: &RunRecord) -> HashMap<u32, PlanPlace> {
    let mut places = HashMap::new();
    let (mut turn, mut seen, mut now) = (0, HashSet::new(), None);
    let mut stages: Vec<(Temperature, Vec<Vec<u32>>)> = Vec::new();
    for item in &items(record) {
        let is_new = seen.contains(&(item.scenario, item.peer)) || now != Some(item.temperature);
        if is_new {
            seen.clear();
            match stages.last_mut() {
                // Each first run of a scenario begins a round of its own.
                Some((stage, turns)) if *stage == item.temperature && *stage == Temperature::Cached => {
                    turns.push(Vec::new());
                }
                _ => stages.push((item.temperature, vec![Vec::new()])),
            }
        }
        now = Some(item.temperature);
        seen.insert((item.scenario, item.peer));
        if let Some(last) = stages.last_mut().and_then(|(_, turns)| turns.last_mut()) {
            last.push(item.sequence);
        }
    }
    let (mut round, mut first_before) = (0, false);
    for (stage, turns) in stages {
        // The cached runs that follow first runs belong to their round.
        round += u32::from(first_before && stage == Temperature::First);
        let rounds = (turns.len() / TURNS_OF_A_ROUND).max(1);
        for (at, sequences) in turns.into_iter().enumerate() {
            let own = u32::try_from((at / TURNS_OF_A_ROUND).min(rounds - 1)).unwrap_or(u32::MAX);
            let place = PlanPlace {
                round: round + own,
                turn,
            };
            places.extend(sequences.into_iter().map(|sequence| (sequence, place)));
            turn += 1;
        }
        first_before = stage == Temperature::First;
        if !first_before {
            round += u32::try_from(rounds).unwrap_or(u32::MAX);
        }
    }
    places
}

/// Everything that does not name its place, in order. Runs that bypass the caches belong to no pair and are left out.
fn items(record: &RunRecord) -> Vec<Item<'_>> {
    let runs = record.samples.iter().filter(|sample| sample.place.is_none());
    let runs = runs.map(|sample| Item {
        sequence: sample.sequence,
        scenario: &sample.scenario,
        peer: None,
        temperature: sample.temperature,
    });
    let peers = record.peers.iter().filter(|sample| sample.place.is_none());
    let peers = peers.map(|sample| Item {
        sequence: sample.sequence,
        scenario: &sample.scenario,
        peer: Some(sample.peer),
        temperature: sample.peer.temperature(),
    });
    let mut items: Vec<Item<'_>> = runs
        .chain(peers)
        .filter(|item| item.temperature != Temperature::Uncached)
        .collect();
    items.sort_by_key(|item| item.sequence);
    items
}

/// True if the run was on a cluster. A pod costs more than a sandbox, so other targets apply. A record whose header
/// was lost does not name its driver; its peers may show it.
pub(crate) fn on_cluster(record: &RunRecord) -> bool {
    let provenance = &record.provenance;
    let beside_pods = |sample: &PeerSample| matches!(sample.peer, Peer::BarePod | Peer::LocalDriver);
    ["kube", "argo"].contains(&provenance.driver.as_str())
        || provenance.cluster.is_some()
        || record.peers.iter().any(beside_pods)
}

/// True if the run went through a task service, whose cost is reported apart from its driver's.
pub(crate) fn through_service(record: &RunRecord) -> bool {
    let provenance = &record.provenance;
    let beside_service = |sample: &PeerSample| matches!(sample.peer, Peer::DirectDriver | Peer::RoundTrip);
    provenance.service.is_some() || record.peers.iter().any(beside_service)
}

/// True if two builds were measured side by side, by processes whose own overhead says little.
pub(crate) fn of_two_builds(record: &RunRecord) -> bool {
    record.against.is_some()
}

/// Why a sample does not count, its kind first; `None` if it counts.
pub(crate) fn reason(acceptance: &Acceptance) -> Option<(&'static str, &str)> {
    match acceptance {
        Acceptance::Accepted => None,
        Acceptance::WrongTemperature { reason } => Some(("rejected", reason)),
        Acceptance::Failed { reason } => Some(("failed", reason)),
    }
}
