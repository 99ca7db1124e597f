//! Computes figures from the samples of a record: which samples enter which figure, and on which side.

use hybrid_cache_model::sample::{Peer, PeerSample, RunRecord, Sample};
use hybrid_cache_model::{Phase, Scenario, Temperature};

use super::kind::{FigureKind, Unit};
use super::value::{Against, Attainment, Figure};
use crate::samples::{accepted, on_cluster, through_service};
use crate::stats::{Estimate, median};

/// All figures that the record's samples carry, by kind, then in the order of the record's scenarios.
pub(crate) fn collect(record: &RunRecord, scenarios: &[&str]) -> Vec<Figure> {
    let (cluster, service) = (on_cluster(record), through_service(record));
    let of = |kind, name: &&str| match kind {
        FigureKind::Overhead if cluster || service => None,
        FigureKind::EndToEnd if !cluster || service => None,
        FigureKind::ServiceOverhead if !service => None,
        FigureKind::ServiceOverhead => service_overhead(record, name),
        FigureKind::ServiceRatio => against_direct_driver(record, name),
        FigureKind::Overhead => less_user_code(record, name, kind, None),
        FigureKind::EndToEnd => less_user_code(record, name, kind, beside(record, name, Peer::Job)),
        FigureKind::BarePod => against_bare_pod(record, name),
        FigureKind::LocalDriver => against_local_driver(record, name),
        FigureKind::DirectRatio | FigureKind::DirectDifference => against_direct_exec(record, name, kind),
        FigureKind::PlainUv => against_plain_uv(record, name),
        FigureKind::SlowerHalf => against_slower_half(record, name),
    };
    FigureKind::ALL
        .into_iter()
        .flat_map(|kind| scenarios.iter().filter_map(move |name| of(kind, name)))
        .collect()
}

fn service_overhead(record: &RunRecord, name: &str) -> Option<Figure> {
    let samples = accepted(record, name, Temperature::Cached);
    let added = |sample: &Sample| sample.timeline.phase_us(Phase::Service) + sample.timeline.phase_us(Phase::Queue);
    let estimate = Estimate::median(&durations(&samples, added))?;
    let ours_us = durations(&samples, |sample| sample.wall_us);
    let against = beside(record, name, Peer::RoundTrip);
    figure(FigureKind::ServiceOverhead, name, estimate, &ours_us, against)
}

/// A peer that is shown with a value and is not part of it.
fn beside(record: &RunRecord, name: &str, peer: Peer) -> Option<Against> {
    let times_us = peer_times(record, name, peer);
    Some(Against {
        name: peer.name().to_owned(),
        median_us: median(&times_us)?,
        n: times_us.len(),
    })
}

fn against_direct_driver(record: &RunRecord, name: &str) -> Option<Figure> {
    let ours_us = durations(&accepted(record, name, Temperature::Cached), |sample| sample.wall_us);
    against_peer(record, name, FigureKind::ServiceRatio, Peer::DirectDriver, &ours_us)
}

fn less_user_code(record: &RunRecord, name: &str, kind: FigureKind, beside: Option<Against>) -> Option<Figure> {
    let samples = with_user_code(record, name);
    let estimate = Estimate::median(&durations(&samples, less_user_code_us))?;
    let ours_us = durations(&samples, |sample| sample.wall_us);
    figure(kind, name, estimate, &ours_us, beside)
}

/// Cached runs with a user-code span: without it, the whole run would count as overhead.
fn with_user_code<'a>(record: &'a RunRecord, name: &str) -> Vec<&'a Sample> {
    let mut samples = accepted(record, name, Temperature::Cached);
    samples.retain(|sample| sample.timeline.spans.iter().any(|span| span.phase == Phase::UserCode));
    samples
}

fn less_user_code_us(sample: &Sample) -> u64 {
    sample.wall_us.saturating_sub(sample.timeline.phase_us(Phase::UserCode))
}

/// `true` has hardly any user code, so the other side excludes its user code; the figure also gives the time with it.
fn against_bare_pod(record: &RunRecord, name: &str) -> Option<Figure> {
    let samples = with_user_code(record, name);
    let ours_us = durations(&samples, less_user_code_us);
    let mut figure = against_peer(record, name, FigureKind::BarePod, Peer::BarePod, &ours_us)?;
    figure.ours_us = median(&durations(&samples, |sample| sample.wall_us))?;
    Some(figure)
}

fn against_local_driver(record: &RunRecord, name: &str) -> Option<Figure> {
    let ours_us = durations(&accepted(record, name, Temperature::Cached), |sample| sample.runner_us);
    against_peer(record, name, FigureKind::LocalDriver, Peer::LocalDriver, &ours_us)
}

fn against_direct_exec(record: &RunRecord, name: &str, kind: FigureKind) -> Option<Figure> {
    let ours_us = durations(&accepted(record, name, Temperature::Cached), |sample| sample.runner_us);
    against_peer(record, name, kind, Peer::DirectExec, &ours_us)
}

fn against_plain_uv(record: &RunRecord, name: &str) -> Option<Figure> {
    let ours_us = walls(record, name);
    against_peer(record, name, FigureKind::PlainUv, Peer::PlainUv, &ours_us)
}

fn against_peer(record: &RunRecord, name: &str, kind: FigureKind, peer: Peer, ours_us: &[u64]) -> Option<Figure> {
    let theirs_us = peer_times(record, name, peer);
    // The full name is a sentence about the peer; in a figure the kind says the rest.
    let short = match peer {
        Peer::PlainUv => "plain uv",
        _ => peer.name(),
    };
    compared(kind, name, ours_us, short, &theirs_us)
}

fn peer_times(record: &RunRecord, name: &str, peer: Peer) -> Vec<u64> {
    let own = record.peers.iter();
    let own = own.filter(|sample| sample.scenario == name && sample.peer == peer);
    own.filter_map(compared_us).collect()
}

/// The time of a peer that is compared, in microseconds: the runner's for the local driver, end-to-end otherwise.
fn compared_us(sample: &PeerSample) -> Option<u64> {
    match sample.peer {
        Peer::LocalDriver => sample.runner_us,
        _ => Some(sample.wall_us),
    }
}

fn against_slower_half(record: &RunRecord, name: &str) -> Option<Figure> {
    let (half, half_us) = slower_half(record, name)?;
    compared(FigureKind::SlowerHalf, name, &walls(record, name), half, &half_us)
}

/// The slower of the two measured scenarios that ask for exactly one cache each and together for just what this one
/// asks for, with its first runs' wall times in microseconds.
fn slower_half<'a>(record: &'a RunRecord, name: &str) -> Option<(&'a str, Vec<u64>)> {
    let task_of = |scenario: &Scenario| scenario.request.check().ok();
    let whole = task_of(record.scenarios.iter().find(|scenario| scenario.name == name)?)?;
    if whole.requirements.is_empty() || whole.system.is_empty() {
        return None;
    }
    let half = |python: bool| {
        let is_half = |scenario: &&Scenario| {
            task_of(scenario).is_some_and(|task| match python {
                true => task.requirements == whole.requirements && task.system.is_empty(),
                false => task.system == whole.system && task.requirements.is_empty(),
            })
        };
        let candidates = record.scenarios.iter().filter(is_half);
        let measured = candidates.map(|scenario| (scenario.name.as_str(), walls(record, &scenario.name)));
        measured.into_iter().find(|(_, walls_us)| !walls_us.is_empty())
    };
    let (python, system) = (half(true)?, half(false)?);
    Some(if median(&python.1) > median(&system.1) {
        python
    } else {
        system
    })
}

fn compared(kind: FigureKind, name: &str, ours_us: &[u64], other: &str, theirs_us: &[u64]) -> Option<Figure> {
    let estimate = match kind.unit() {
        Unit::Ratio => Estimate::ratio(ours_us, theirs_us)?,
        Unit::Duration | Unit::Difference => Estimate::difference(ours_us, theirs_us)?,
    };
    let against = Against {
        name: other.to_owned(),
        median_us: median(theirs_us)?,
        n: theirs_us.len(),
    };
    figure(kind, name, estimate, ours_us, Some(against))
}

fn figure(
    kind: FigureKind,
    name: &str,
    estimate: Estimate,
    ours_us: &[u64],
    against: Option<Against>,
) -> Option<Figure> {
    let target = kind.target();
    let attainment = match estimate.interval {
        Some(interval) if interval.high <= target => Attainment::Met,
        Some(interval) if interval.low > target => Attainment::Missed,
        _ => Attainment::Undecided,
    };
    Some(Figure {
        kind,
        scenario: name.to_owned(),
        estimate,
        n: ours_us.len(),
        ours_us: median(ours_us)?,
        against,
        attainment,
    })
}

/// Wall times of the first runs that count, in microseconds.
fn walls(record: &RunRecord, name: &str) -> Vec<u64> {
    durations(&accepted(record, name, Temperature::First), |sample| sample.wall_us)
}

fn durations(samples: &[&Sample], of: fn(&Sample) -> u64) -> Vec<u64> {
    samples.iter().map(|sample| of(sample)).collect()
}
