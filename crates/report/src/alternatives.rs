//! A cached run beside what people would use instead: ratios of what stood side by side, with intervals and without a verdict. Beside
//! them, what was asked for and not measured.

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{Peer, RunRecord};
use serde::Serialize;

use crate::figure::compared_us;
use crate::samples::{Measured, accepted, only_us, pairs};
use crate::stats::{Estimate, Evidence, Rule, Scale, as_f64, median};
use crate::units;

/// A cached run of a scenario, divided by a run of something else that does the same work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerRatio {
    /// The scenario's name.
    pub scenario: String,
    /// What it is divided by.
    pub peer: Peer,
    /// End-to-end time of the cached run over that of the peer; 0.25 means that the cached run takes a quarter of the time.
    pub ratio: Estimate,
    /// Pairs behind it: runs that stood in one turn.
    pub pairs: usize,
    /// Median of the cached runs, in microseconds.
    pub ours_us: f64,
    /// Median of the peer's runs, in microseconds.
    pub theirs_us: f64,
}

/// A peer that was asked for and not measured, or not always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingPeer {
    /// Which peer.
    pub peer: Peer,
    /// The scenarios that this concerns.
    pub scenarios: Vec<String>,
    /// Why, in a sentence without a full stop.
    pub reason: String,
}

impl PeerRatio {
    /// The ratio as text.
    pub fn value(&self) -> String {
        written(self.ratio.value)
    }

    /// The interval as text, a dash if there is none.
    pub fn interval(&self) -> String {
        let written = |low, high| format!("{}–{}", written(low).trim_end_matches('×'), written(high));
        let interval = self.ratio.interval;
        interval.map_or("–".to_owned(), |interval| written(interval.low, interval.high))
    }
}

/// A ratio with two digits that count: some peers take fifty times as long.
fn written(ratio: f64) -> String {
    if ratio < 0.1 {
        format!("{ratio:.3}×")
    } else {
        units::ratio(ratio)
    }
}

/// The name of a peer beside its alternatives.
pub fn name(peer: Peer) -> &'static str {
    match peer {
        Peer::DirectExec => "bare interpreter (the limit)",
        _ => peer.name(),
    }
}

/// The heading above the ratios, or above what was not measured if there are none.
pub(crate) fn heading(ratios: &[PeerRatio]) -> &'static str {
    if ratios.is_empty() {
        "Peers that were not measured"
    } else {
        "What people would use instead"
    }
}

/// True if the run was asked for what people would use instead.
fn asked_for(record: &RunRecord) -> bool {
    let measured = record.peers.iter().map(|sample| sample.peer);
    let failed = record.failed_peers.iter().map(|sample| sample.peer);
    let absent = record.absent_peers.iter().map(|sample| sample.peer);
    let mut all = measured.chain(failed).chain(absent);
    all.any(|peer| Peer::ALTERNATIVES.contains(&peer))
}

/// All ratios of a run, by scenario. Empty unless it was asked for alternatives: direct exec alone has a figure of its own.
pub(crate) fn ratios(measured: &Measured<'_>, scenarios: &[&str]) -> Vec<PeerRatio> {
    if !asked_for(measured.record) {
        return Vec::new();
    }
    let peers = || std::iter::once(Peer::DirectExec).chain(Peer::ALTERNATIVES);
    let of = |name: &&str| {
        peers()
            .filter_map(|peer| ratio(measured, name, peer))
            .collect::<Vec<_>>()
    };
    scenarios.iter().flat_map(of).collect()
}

fn ratio(measured: &Measured<'_>, name: &str, peer: Peer) -> Option<PeerRatio> {
    let ours = measured.timed(&accepted(measured.record, name, Temperature::Cached), |sample| {
        sample.wall_us
    });
    let theirs = measured.peer(name, peer, compared_us);
    let pairs = pairs(&ours, &theirs);
    // What takes 0 µs takes less than the clock's resolution.
    let value = |(round, own, their): &(u32, u64, u64)| (*round, as_f64(*own) / as_f64(*their).max(1.0));
    let values: Vec<(u32, f64)> = pairs.iter().map(value).collect();
    let evidence = Evidence::new(&values, Scale::Ratio, Rule::SignedRank);
    let evidence = evidence.looked_at_repeatedly(measured.looked_at_repeatedly());
    Some(PeerRatio {
        scenario: name.to_owned(),
        peer,
        ratio: Estimate::of(&evidence)?,
        pairs: pairs.len(),
        ours_us: median(&only_us(&ours))?,
        theirs_us: median(&only_us(&theirs))?,
    })
}

/// What was asked for and not measured; equal reasons of a peer stand together.
pub(crate) fn missing(record: &RunRecord) -> Vec<MissingPeer> {
    let mut missing: Vec<MissingPeer> = Vec::new();
    let absent = record.absent_peers.iter();
    let absent = absent.map(|absent| {
        (
            absent.peer,
            &absent.scenario,
            format!("not measured: {}", absent.reason),
        )
    });
    for (peer, scenario, reason) in absent.chain(failures(record)) {
        match missing.iter_mut().find(|one| one.peer == peer && one.reason == reason) {
            Some(known) => known.scenarios.push(scenario.clone()),
            None => missing.push(MissingPeer {
                peer,
                scenarios: vec![scenario.clone()],
                reason,
            }),
        }
    }
    missing
}

/// The failures of each peer of each scenario, with the first reason: later ones may only repeat that it is not tried again.
fn failures(record: &RunRecord) -> Vec<(Peer, &String, String)> {
    let mut failures: Vec<(Peer, &String, usize, &str)> = Vec::new();
    for failed in &record.failed_peers {
        let known = failures
            .iter_mut()
            .find(|(peer, scenario, ..)| *peer == failed.peer && **scenario == failed.scenario);
        match known {
            Some((_, _, count, _)) => *count += 1,
            None => failures.push((failed.peer, &failed.scenario, 1, &failed.reason)),
        }
    }
    let mut rows = Vec::new();
    for (peer, scenario, count, reason) in failures {
        let good = record.peers.iter();
        let good = good.filter(|sample| sample.peer == peer && sample.scenario == *scenario);
        let all = count + good.count();
        let reason = reason.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        rows.push((
            peer,
            scenario,
            format!("{count} of {all} runs failed and do not count: {reason}"),
        ));
    }
    rows
}
