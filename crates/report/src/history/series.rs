//! Reduces runs to points, and points to one series for each machine, scenario, definition and temperature.

use std::collections::BTreeMap;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{Acceptance, Completion, Peer, Provenance, RunRecord};
use serde::Serialize;

use super::changes::{ChangePoint, find_changes};
use crate::compare::peer_ratios;
use crate::mirror;
use crate::provenance::{cluster_fact, processors};
use crate::samples::{Measured, accepted, declared, in_rounds, of_two_builds, scenario_names, through_service};
use crate::stats::{Distribution, Estimate, Evidence, Interval, Rule, Scale};
use crate::units;

/// One run.
#[derive(Debug, Serialize)]
pub struct HistoryRun {
    /// Its folder, relative to that of the history.
    pub folder: String,
    /// Start, RFC 3339.
    pub started_at: String,
    /// git revision.
    pub revision: String,
    /// True if the checkout had uncommitted changes.
    pub dirty: bool,
    /// Position in `History::machines`.
    pub machine: usize,
    /// Whether it came to its end.
    pub completion: Completion,
    /// Samples that count.
    pub accepted: usize,
    /// All samples.
    pub samples: usize,
}

/// One group of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Position in `History::runs`.
    pub run: usize,
    /// Samples that count.
    pub n: usize,
    /// Rounds.
    pub rounds: usize,
    /// Median of the end-to-end time, in microseconds.
    pub median_us: f64,
    /// Its interval; absent if there are too few rounds.
    pub interval: Option<Interval>,
    /// The same time divided by that of the series' peer, pair by pair; absent if none was measured.
    pub to_peer: Option<Estimate>,
}

/// What changes are looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Quotients to a peer: the machine is not part of them.
    ToPeer,
    /// Times: a change of the machine is part of them.
    Time,
}

/// One group over time, on one machine.
#[derive(Debug, Serialize)]
pub struct Series {
    /// The scenario's name.
    pub scenario: String,
    /// The temperature.
    pub temperature: Temperature,
    /// Position in `History::machines`.
    pub machine: usize,
    /// Which of the scenario's definitions this is, from 1, by first appearance: another one is another series.
    pub definition: usize,
    /// The peer of [`Point::to_peer`]; absent if no run has one.
    pub peer: Option<Peer>,
    /// What changes are looked for in.
    pub basis: Basis,
    /// By the runs' start.
    pub points: Vec<Point>,
    /// Where it changed.
    pub changes: Vec<ChangePoint>,
}

impl Series {
    /// `python-only, cached`, with the definition if it is not the first.
    pub fn title(&self) -> String {
        let name = format!("{}, {}", self.scenario, self.temperature.name());
        match self.definition {
            1 => name,
            nth => format!("{name} (definition {nth})"),
        }
    }

    /// The points that changes are looked for in, as quotients or microseconds.
    pub(super) fn values(&self) -> Vec<(usize, f64)> {
        let value = |point: &Point| match self.basis {
            Basis::ToPeer => Some((point.run, point.to_peer.as_ref()?.value)),
            Basis::Time => Some((point.run, point.median_us)),
        };
        self.points.iter().filter_map(value).collect()
    }
}

/// What was read so far.
#[derive(Default)]
pub(super) struct Collected {
    runs: Vec<CollectedRun>,
    /// Definitions of each scenario, by first appearance in time; filled at the end.
    definitions: BTreeMap<String, Vec<String>>,
}

struct CollectedRun {
    run: HistoryRun,
    machine: String,
    /// Seconds since 1970, which orders runs; `None` if the record does not know its start.
    started: Option<i64>,
    groups: Vec<CollectedGroup>,
}

struct CollectedGroup {
    scenario: String,
    temperature: Temperature,
    /// What the scenario does, as text.
    definition: String,
    peer: Option<Peer>,
    point: Point,
}

impl Collected {
    /// Reduces a run to its points.
    pub(super) fn add(&mut self, folder: &str, record: &RunRecord) {
        let provenance = &record.provenance;
        let measured = Measured::new(record);
        let counts = |acceptance: &Acceptance| *acceptance == Acceptance::Accepted;
        let names = scenario_names(record);
        let all = names
            .iter()
            .flat_map(|name| Temperature::ALL.map(|temperature| (*name, temperature)));
        self.runs.push(CollectedRun {
            run: HistoryRun {
                folder: folder.to_owned(),
                started_at: provenance.started_at.clone(),
                revision: provenance.revision.clone(),
                dirty: provenance.dirty,
                machine: 0,
                completion: record.completion,
                accepted: record
                    .samples
                    .iter()
                    .filter(|sample| counts(&sample.acceptance))
                    .count(),
                samples: record.samples.len(),
            },
            machine: machine(record),
            started: provenance
                .started_at
                .parse::<jiff::Timestamp>()
                .ok()
                .map(jiff::Timestamp::as_second),
            groups: all
                .filter_map(|(name, temperature)| group(&measured, name, temperature))
                .collect(),
        });
    }

    /// Orders the runs and joins their points to series.
    pub(super) fn finish(mut self) -> (Vec<HistoryRun>, Vec<String>, Vec<Series>) {
        self.runs
            .sort_by(|one, other| (one.started, &one.run.folder).cmp(&(other.started, &other.run.folder)));
        let mut machines: Vec<String> = Vec::new();
        let mut runs = Vec::new();
        let mut series: BTreeMap<(usize, String, Temperature, usize), Series> = BTreeMap::new();
        for (at, collected) in self.runs.into_iter().enumerate() {
            let machine = position(&mut machines, collected.machine);
            runs.push(HistoryRun {
                machine,
                ..collected.run
            });
            for group in collected.groups {
                let known = self.definitions.entry(group.scenario.clone()).or_default();
                let definition = position(known, group.definition) + 1;
                let key = (machine, group.scenario.clone(), group.temperature, definition);
                let own = series.entry(key).or_insert_with(|| Series {
                    scenario: group.scenario,
                    temperature: group.temperature,
                    machine,
                    definition,
                    peer: None,
                    basis: Basis::Time,
                    points: Vec::new(),
                    changes: Vec::new(),
                });
                own.peer = own.peer.or(group.peer);
                // A quotient to one peer is no neighbour of one to another.
                let to_peer = group.point.to_peer.filter(|_| group.peer == own.peer);
                own.points.push(Point {
                    run: at,
                    to_peer,
                    ..group.point
                });
            }
        }
        let mut series: Vec<Series> = series.into_values().collect();
        decide(&mut series);
        (runs, machines, series)
    }
}

/// Chooses the basis of each series and looks for changes in all of them together.
fn decide(series: &mut [Series]) {
    for own in series.iter_mut() {
        let beside = own.points.iter().filter(|point| point.to_peer.is_some()).count();
        // The few runs without a peer must not decide against it.
        if beside * 2 >= own.points.len() && beside > 0 {
            own.basis = Basis::ToPeer;
        }
    }
    let values: Vec<Vec<(usize, f64)>> = series.iter().map(Series::values).collect();
    for (own, changes) in series.iter_mut().zip(find_changes(&values)) {
        own.changes = changes;
    }
}

fn position(known: &mut Vec<String>, one: String) -> usize {
    match known.iter().position(|other| *other == one) {
        Some(at) => at,
        None => {
            known.push(one);
            known.len() - 1
        }
    }
}

fn group(measured: &Measured<'_>, name: &str, temperature: Temperature) -> Option<CollectedGroup> {
    let record = measured.record;
    let samples = accepted(record, name, temperature);
    let walls = in_rounds(&measured.timed(&samples, |sample| sample.wall_us));
    let times = Distribution::from_rounds(&walls)?;
    let yardsticks = Peer::ALL
        .into_iter()
        .filter(|peer| peer.temperature() == temperature && peer.is_yardstick());
    let beside = yardsticks
        .map(|peer| (peer, peer_ratios(measured, name, peer)))
        .find(|(_, ratios)| !ratios.is_empty());
    let repeatedly = measured.looked_at_repeatedly();
    let to_peer = beside.as_ref().and_then(|(_, ratios)| {
        let evidence = Evidence::new(ratios, Scale::Ratio, Rule::SignedRank);
        Estimate::of(&evidence.looked_at_repeatedly(repeatedly))
    });
    let done = declared(record, name).map(|scenario| (&scenario.request, &scenario.expect.stdout));
    let network = match temperature {
        Temperature::Cached => String::new(),
        Temperature::First | Temperature::Uncached => mirror::conditions(record),
    };
    Some(CollectedGroup {
        scenario: name.to_owned(),
        temperature,
        definition: serde_json::to_string(&done).unwrap_or_default() + &network,
        peer: beside.map(|(peer, _)| peer),
        point: Point {
            run: 0,
            n: times.n,
            rounds: times.rounds,
            median_us: times.median_us,
            interval: times.interval,
            to_peer,
        },
    })
}

/// What times depend on besides the program: figures of two such are never drawn together.
fn machine(record: &RunRecord) -> String {
    let provenance: &Provenance = &record.provenance;
    let mut text = format!(
        "driver {} on {}, {}, {}",
        provenance.driver,
        processors(provenance),
        units::bytes(provenance.memory_bytes),
        provenance.arch
    );
    if provenance.cluster.is_some() {
        let nodes = cluster_fact(provenance, |cluster| {
            format!("{} with {} nodes", cluster.context, cluster.nodes)
        });
        text.push_str(&format!(", cluster {nodes}"));
    }
    if through_service(record) {
        text.push_str(", through a task service");
    }
    if of_two_builds(record) {
        text.push_str(", beside another build");
    }
    text
}
