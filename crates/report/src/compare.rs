//! Compares two runs that were measured apart: ratios, and a verdict for each group that has something measured beside it.
//!
//! Two runs of the same program differ by 10 to 40 % on a busy machine, so their times alone say nothing about the program. What a
//! run measured beside the group, such as the same interpreter started directly, saw the same machine. So a verdict compares how
//! each run stood to that peer, pair by pair.

use comfy_table::CellAlignment;
use hybrid_cache_model::sample::{ClusterRecord, Peer, Provenance, RunRecord, Sample};
use hybrid_cache_model::{Scenario, Temperature};
use serde::Serialize;

use crate::cells::{self, plain};
use crate::figure::compared_us;
use crate::provenance::cluster_fact;
use crate::samples::{Measured, accepted, declared, in_rounds, only_us, pairs, scenario_names};
use crate::stats::{self, ALPHA, Decision, Estimate, Evidence, Rule, Scale, TwoRuns, as_f64, durations, holm};
use crate::terminal::{Color, align, fitted, framed};
use crate::{mirror, units};

/// Medians within this share of each other count as the same: smaller differences do not outlive a reboot.
pub const SAME_WITHIN: f64 = 0.05;

/// How one group of run B stands to the same group of run A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// B is proven to be faster, and not by at most [`SAME_WITHIN`].
    Faster,
    /// B is proven to be slower, and not by at most [`SAME_WITHIN`].
    Slower,
    /// The difference is proven to be at most [`SAME_WITHIN`].
    Same,
    /// None of these is proven.
    Undecided,
    /// Nothing was measured beside the group in both runs, so a slower machine looks like a slower program.
    NoPairs,
    /// The scenario of this name is another one in B.
    OtherScenario,
    /// The first runs of B fetched through another network than those of A.
    OtherNetwork,
    /// Only run A has samples that count.
    OnlyInA,
    /// Only run B has samples that count.
    OnlyInB,
}

impl Change {
    /// The words in a report, with a mark so that colour never carries them alone.
    pub fn name(self) -> &'static str {
        match self {
            Change::Faster => "▼ faster",
            Change::Slower => "▲ slower",
            Change::Same => "= same",
            Change::Undecided => "? undecided",
            Change::NoPairs => "? no pairs",
            Change::OtherScenario => "? other scenario",
            Change::OtherNetwork => "? other network",
            Change::OnlyInA => "– only in A",
            Change::OnlyInB => "– only in B",
        }
    }
}

/// One group in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupComparison {
    /// The scenario's name.
    pub scenario: String,
    /// The temperature.
    pub temperature: Temperature,
    /// Samples of A and of B that count.
    pub n: (usize, usize),
    /// Median wall time of A in microseconds.
    pub a_us: Option<f64>,
    /// Median wall time of B in microseconds.
    pub b_us: Option<f64>,
    /// B over A, of the times themselves: below 1 is faster. A change of the machine is part of it.
    pub ratio: Option<Estimate>,
    /// B over A, each divided by what was measured beside it; absent without pairs in both runs.
    pub beside: Option<BesidePeer>,
    /// The verdict.
    pub change: Change,
    /// True if run B set out to measure the scenario, so that an absent figure is a loss.
    pub planned_in_b: bool,
}

/// A group of both runs, relative to a peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BesidePeer {
    /// What was measured beside the group in both runs.
    pub peer: Peer,
    /// B over A, each relative to the peer: below 1 is faster.
    pub ratio: Estimate,
    /// The test behind the verdict, corrected for all groups of the comparison.
    pub decision: Decision,
    /// The change on whose side the samples lie, proven or not.
    #[serde(skip)]
    side: Change,
    #[serde(skip)]
    runs: TwoRuns,
}

impl BesidePeer {
    /// One-sided p for "B takes at most `limit` times as long", and for "B takes longer than that".
    pub(crate) fn p(&self, limit: f64) -> (f64, f64) {
        (self.runs.p_above(limit), self.runs.p_at_most(limit))
    }

    /// Rounds of the run that has fewer.
    pub(crate) fn rounds(&self) -> usize {
        self.ratio.rounds
    }
}

/// Run B against run A.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// By scenario in the order of A, then those that only B has; coldest first.
    pub groups: Vec<GroupComparison>,
    /// Differences in provenance that make the figures hard to compare.
    pub cautions: Vec<String>,
    /// Why first runs are not compared; absent if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_network: Option<String>,
}

/// Compares the accepted samples of run `b` with those of run `a`, the older one.
pub fn compare(a: &RunRecord, b: &RunRecord) -> Comparison {
    let mut names = scenario_names(a);
    names.extend(
        scenario_names(b)
            .into_iter()
            .filter(|name| !scenario_names(a).contains(name)),
    );
    let (a, b) = (Measured::new(a), Measured::new(b));
    let of_name = |name: &&str| Temperature::ALL.map(|temperature| group(&a, &b, name, temperature));
    let mut groups: Vec<GroupComparison> = names.iter().flat_map(of_name).flatten().collect();
    conclude(&mut groups);
    Comparison {
        groups,
        cautions: cautions(a.record, b.record),
        other_network: mirror::difference(a.record, b.record),
    }
}

fn group(a: &Measured<'_>, b: &Measured<'_>, name: &str, temperature: Temperature) -> Option<GroupComparison> {
    let walls = |run: &Measured<'_>| {
        let samples = accepted(run.record, name, temperature);
        run.timed(&samples, |sample| sample.wall_us)
    };
    let (old, new) = (walls(a), walls(b));
    let beside = beside_peer(a, b, name, temperature);
    let change = match (old.is_empty(), new.is_empty()) {
        (true, true) => return None,
        (false, true) => Change::OnlyInA,
        (true, false) => Change::OnlyInB,
        (false, false) if other_scenario(a.record, b.record, name) => Change::OtherScenario,
        (false, false) if has_other_network(a.record, b.record, temperature) => Change::OtherNetwork,
        (false, false) if beside.is_none() => Change::NoPairs,
        (false, false) => Change::Undecided,
    };
    let of_rounds = |run: &[crate::samples::Timed]| durations(&in_rounds(run)).values().to_vec();
    Some(GroupComparison {
        scenario: name.to_owned(),
        temperature,
        n: (old.len(), new.len()),
        a_us: stats::median(&only_us(&old)),
        b_us: stats::median(&only_us(&new)),
        ratio: TwoRuns::new(&of_rounds(&old), &of_rounds(&new))
            .looked_at_repeatedly(repeatedly(a, b))
            .ratio(),
        beside,
        change,
        planned_in_b: b
            .record
            .samples
            .iter()
            .any(|sample| sample.scenario == name && sample.temperature == temperature),
    })
}

/// True if the end of one of them depends on its intervals.
fn repeatedly(a: &Measured<'_>, b: &Measured<'_>) -> bool {
    a.looked_at_repeatedly() || b.looked_at_repeatedly()
}

/// True if both runs declare the scenario and do not do the same in it. What is claimed of it may differ.
fn other_scenario(a: &RunRecord, b: &RunRecord, name: &str) -> bool {
    let both = declared(a, name).zip(declared(b, name));
    let done = |scenario: &Scenario| (scenario.request.clone(), scenario.expect.stdout.clone());
    both.is_some_and(|(old, new)| done(old) != done(new))
}

/// True if the time of such a run depends on the network, and the two had different ones.
fn has_other_network(a: &RunRecord, b: &RunRecord, temperature: Temperature) -> bool {
    temperature != Temperature::Cached && mirror::difference(a, b).is_some()
}

/// How both runs stood to the first peer that both measured beside the group.
fn beside_peer(a: &Measured<'_>, b: &Measured<'_>, name: &str, temperature: Temperature) -> Option<BesidePeer> {
    let peers = Peer::ALL
        .into_iter()
        .filter(|peer| peer.temperature() == temperature && peer.is_yardstick());
    let found = peers.map(|peer| (peer, to_peer(a, name, peer), to_peer(b, name, peer)));
    let (peer, old, new) = found
        .into_iter()
        .find(|(_, old, new)| !old.is_empty() && !new.is_empty())?;
    let runs = TwoRuns::new(&old, &new).looked_at_repeatedly(repeatedly(a, b));
    let ratio = runs.ratio()?;
    let (low, high) = (1.0 - SAME_WITHIN, 1.0 + SAME_WITHIN);
    let sides = [
        (Change::Same, runs.p_at_least(low).max(runs.p_at_most(high))),
        (Change::Slower, runs.p_above(1.0)),
        (Change::Faster, runs.p_below(1.0)),
    ];
    // What is within a few percent of the other is the same, even if it is proven to be slower.
    let likeliest = match sides[0] {
        (_, p) if p <= ALPHA => sides[0],
        _ if sides[1].1 < sides[2].1 => sides[1],
        _ => sides[2],
    };
    Some(BesidePeer {
        peer,
        ratio,
        decision: Decision::alone(likeliest.1),
        side: likeliest.0,
        runs,
    })
}

/// The group's time over the peer's, for each round that has a pair.
fn to_peer(run: &Measured<'_>, name: &str, peer: Peer) -> Vec<f64> {
    let of_rounds = Evidence::new(&peer_ratios(run, name, peer), Scale::Ratio, Rule::Order);
    of_rounds.values().to_vec()
}

/// The group's time over the peer's for each pair, with its round.
pub(crate) fn peer_ratios(run: &Measured<'_>, name: &str, peer: Peer) -> Vec<(u32, f64)> {
    let of: fn(&Sample) -> u64 = match peer {
        Peer::LocalDriver => |sample| sample.runner_us,
        _ => |sample| sample.wall_us,
    };
    let ours = run.timed(&accepted(run.record, name, peer.temperature()), of);
    let ratio = |(round, own, their): (u32, u64, u64)| (round, as_f64(own) / as_f64(their).max(1.0));
    pairs(&ours, &run.peer(name, peer, compared_us))
        .into_iter()
        .map(ratio)
        .collect()
}

/// Decides every group with pairs, together.
fn conclude(groups: &mut [GroupComparison]) {
    let open = |group: &&mut GroupComparison| group.change == Change::Undecided;
    let mut open: Vec<(&mut Change, &mut BesidePeer)> = groups
        .iter_mut()
        .filter(open)
        .filter_map(|group| Some((&mut group.change, group.beside.as_mut()?)))
        .collect();
    let p: Vec<f64> = open.iter().map(|(_, beside)| beside.decision.p).collect();
    for ((change, beside), adjusted) in open.iter_mut().zip(holm(&p)) {
        beside.decision = Decision {
            adjusted,
            tests: p.len(),
            smallest_effect: beside.runs.smallest_effect(p.len()),
            ..beside.decision
        };
        if beside.decision.is_proven() {
            **change = beside.side;
        }
    }
}

fn cautions(a: &RunRecord, b: &RunRecord) -> Vec<String> {
    let (a, b) = (&a.provenance, &b.provenance);
    let cluster = |fact: fn(&ClusterRecord) -> String| (cluster_fact(a, fact), cluster_fact(b, fact));
    let kubernetes = cluster(|cluster| cluster.kubernetes.clone());
    let nodes = cluster(|cluster| format!("{} with kubelet {}", cluster.nodes, cluster.kubelets.join(", ")));
    let runtimes = cluster(|cluster| cluster.container_runtimes.join(", "));
    let storage = cluster(|cluster| format!("{:?}", cluster.storage_classes));
    // The same content may have several names, and a name may move.
    let image = cluster(|cluster| cluster.image_id.as_ref().unwrap_or(&cluster.image).clone());
    let standby = cluster(|cluster| cluster.standby.clone().unwrap_or_else(|| "none".to_owned()));
    let facts = [
        ("driver", a.driver.clone(), b.driver.clone()),
        ("processor", a.cpu.clone(), b.cpu.clone()),
        ("processors", a.cpus.to_string(), b.cpus.to_string()),
        ("memory", units::bytes(a.memory_bytes), units::bytes(b.memory_bytes)),
        ("architecture", a.arch.clone(), b.arch.clone()),
        ("kernel", a.kernel.clone(), b.kernel.clone()),
        ("interpreter", a.interpreter.clone(), b.interpreter.clone()),
        ("package index", a.index.clone(), b.index.clone()),
        ("system provider", a.system_provider.clone(), b.system_provider.clone()),
        ("system source", a.system_source.clone(), b.system_source.clone()),
        (
            "file systems",
            format!("{:?}", a.file_systems),
            format!("{:?}", b.file_systems),
        ),
        ("task service", service(a), service(b)),
        ("Kubernetes version", kubernetes.0, kubernetes.1),
        ("nodes", nodes.0, nodes.1),
        ("container runtime", runtimes.0, runtimes.1),
        ("storage classes", storage.0, storage.1),
        ("image", image.0, image.1),
        ("number of standby pods", standby.0, standby.1),
    ];
    facts
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(what, old, new)| format!("the {what} differs: {old} in A, {new} in B"))
        .collect()
}

/// What stands between client and driver; its address is not what makes figures differ.
fn service(provenance: &Provenance) -> String {
    let service = provenance.service.as_ref();
    service.map_or("none".to_owned(), |service| {
        let driver = service.driver.as_deref().unwrap_or("unknown");
        let place = if service.same_machine {
            "the same machine"
        } else {
            "another machine"
        };
        format!("version {} on driver {driver}, {place}", service.version)
    })
}

impl Comparison {
    /// The comparison as text for a terminal `width` columns wide.
    pub fn terminal(&self, width: u16, color: Color) -> String {
        let mut table = framed();
        table.set_header(COLUMNS);
        for group in &self.groups {
            let mut row = Self::row(group);
            // No verdict rests on it, so its interval is left to Markdown.
            if let Some(ratio) = &group.ratio {
                row[5] = units::ratio(ratio.value);
            }
            table.add_row(row.map(|cell| plain(&cell)));
        }
        let sides = COLUMNS.map(|column| match column {
            "scenario" | "run" | "peer" | "verdict" => CellAlignment::Left,
            _ => CellAlignment::Right,
        });
        align(&mut table, sides.into_iter());
        let mut text = fitted(table, width);
        text.push_str(&format!("\n{}\n", self.explanation().join("\n")));
        for caution in self.cautions.iter().chain(&self.other_network) {
            text.push_str(&format!("\nwarning: {}\n", plain(caution)));
        }
        match color {
            Color::Plain => text,
            Color::Ansi => painted(&text),
        }
    }

    /// What the columns are, a sentence each.
    pub(crate) fn explanation(&self) -> [String; 4] {
        let tests = self.groups.iter().filter(|group| group.beside.is_some()).count();
        [
            "A and B are medians of the wall time. B/A compares the times themselves; a change of the machine is part of it.".to_owned(),
            "\"to peer\" compares them relative to what was measured beside each; the verdict rests on it.".to_owned(),
            format!("It is corrected for {tests} tests. \"same\" is within {}.", units::share(SAME_WITHIN)),
            "\"could show\" is the smallest change that runs like these show in 8 of 10 cases.".to_owned(),
        ]
    }

    /// A group's row under [`COLUMNS`].
    pub(crate) fn row(group: &GroupComparison) -> [String; 10] {
        let dash = || "–".to_owned();
        let time = |us: Option<f64>| us.map_or_else(dash, units::duration);
        let beside = group.beside.as_ref();
        let effect = beside.and_then(|beside| beside.decision.smallest_effect);
        [
            group.scenario.clone(),
            group.temperature.name().to_owned(),
            format!("{} / {}", group.n.0, group.n.1),
            time(group.a_us),
            time(group.b_us),
            group.ratio.as_ref().map_or_else(dash, cells::ratio),
            beside.map_or_else(dash, |beside| beside.peer.short_name().to_owned()),
            beside.map_or_else(dash, |beside| cells::ratio(&beside.ratio)),
            group.change.name().to_owned(),
            effect.map_or_else(dash, units::effect),
        ]
    }
}

/// Heads of the table.
pub(crate) const COLUMNS: [&str; 10] = [
    "scenario",
    "run",
    "n",
    "A",
    "B",
    "B/A",
    "peer",
    "to peer",
    "verdict",
    "could show",
];

fn painted(text: &str) -> String {
    let colors = [
        (Change::Faster, "32"),
        (Change::Slower, "31"),
        (Change::Undecided, "33"),
        (Change::NoPairs, "33"),
        (Change::OtherScenario, "33"),
        (Change::OtherNetwork, "33"),
    ];
    colors.iter().fold(
        text.replace("\nwarning:", "\n\u{1b}[33mwarning:\u{1b}[0m"),
        |text, (change, code)| text.replace(change.name(), &format!("\u{1b}[{code}m{}\u{1b}[0m", change.name())),
    )
}
