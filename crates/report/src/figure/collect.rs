//! Computes figures from the samples of a record: which samples enter which figure, and on which side.

use hybrid_cache_model::sample::{Peer, PeerSample, RunRecord, Sample};
use hybrid_cache_model::{Phase, Scenario, Temperature};

use super::kind::{FigureKind, Unit};
use super::value::{Against, Figure, Ours};
use crate::samples::{
    Measured, Timed, accepted, in_rounds, of_two_builds, on_cluster, only_us, pairs, through_service,
};
use crate::stats::{Estimate, Evidence, Rule, Scale, as_f64, median};

/// All figures that the record's samples carry, by kind, then in the order of the record's scenarios. Their verdicts are open.
pub(crate) fn collect(measured: &Measured<'_>, scenarios: &[&str]) -> Vec<Figure> {
    let record = measured.record;
    let (cluster, service, two_builds) = (on_cluster(record), through_service(record), of_two_builds(record));
    let of = |kind, name: &&str| match kind {
        FigureKind::Overhead if cluster || service || two_builds => None,
        FigureKind::EndToEnd if !cluster || service => None,
        FigureKind::ServiceOverhead if !service => None,
        FigureKind::ServiceOverhead => service_overhead(measured, name),
        FigureKind::ServiceRatio => against_peer(measured, name, kind, Peer::DirectDriver),
        FigureKind::Overhead => less_user_code(measured, name, kind, None),
        FigureKind::EndToEnd => less_user_code(measured, name, kind, beside(measured, name, Peer::Job)),
        FigureKind::BarePod => against_bare_pod(measured, name),
        FigureKind::LocalDriver => against_peer(measured, name, kind, Peer::LocalDriver),
        FigureKind::DirectRatio | FigureKind::DirectDifference => against_peer(measured, name, kind, Peer::DirectExec),
        FigureKind::PlainUv => against_peer(measured, name, kind, Peer::PlainUv),
        FigureKind::OtherCached => against_peer(measured, name, kind, Peer::OtherCached),
        FigureKind::OtherFirst => against_peer(measured, name, kind, Peer::OtherFirst),
        FigureKind::SlowerHalf => against_slower_half(measured, name),
    };
    FigureKind::ALL
        .into_iter()
        .flat_map(|kind| scenarios.iter().filter_map(move |name| of(kind, name)))
        .collect()
}

fn service_overhead(measured: &Measured<'_>, name: &str) -> Option<Figure> {
    let samples = accepted(measured.record, name, Temperature::Cached);
    let added = |sample: &Sample| sample.timeline.phase_us(Phase::Service) + sample.timeline.phase_us(Phase::Queue);
    let against = beside(measured, name, Peer::RoundTrip);
    by_itself(measured, FigureKind::ServiceOverhead, name, &samples, added, against)
}

/// A peer that is shown with a value and is not part of it.
fn beside(measured: &Measured<'_>, name: &str, peer: Peer) -> Option<Against> {
    let times_us = only_us(&measured.peer(name, peer, compared_us));
    Some(Against {
        name: peer.name().to_owned(),
        median_us: median(&times_us)?,
        n: times_us.len(),
    })
}

fn less_user_code(measured: &Measured<'_>, name: &str, kind: FigureKind, beside: Option<Against>) -> Option<Figure> {
    let samples = with_user_code(measured.record, name);
    by_itself(measured, kind, name, &samples, less_user_code_us, beside)
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

/// A duration of our own samples, whose target is a duration.
fn by_itself(
    measured: &Measured<'_>,
    kind: FigureKind,
    name: &str,
    samples: &[&Sample],
    of: fn(&Sample) -> u64,
    against: Option<Against>,
) -> Option<Figure> {
    let timed = measured.timed(samples, of);
    let evidence = measured.durations(&in_rounds(&timed));
    let mut estimate = Estimate::of(&evidence)?;
    estimate.value = median(&only_us(&timed))?;
    estimate.interval = estimate.interval.map(|interval| interval.around(estimate.value));
    let ours = ours(&measured.timed(samples, |sample| sample.wall_us))?;
    Some(Figure::new(kind, name, (estimate, evidence), ours, against))
}

/// `true` has hardly any user code, so the other side excludes its user code; the figure also gives the time with it.
fn against_bare_pod(measured: &Measured<'_>, name: &str) -> Option<Figure> {
    let samples = with_user_code(measured.record, name);
    let ours_timed = measured.timed(&samples, less_user_code_us);
    let theirs = measured.peer(name, Peer::BarePod, compared_us);
    if !is_seen_alike(measured.record) {
        return None;
    }
    let shown = ours(&measured.timed(&samples, |sample| sample.wall_us))?;
    compared(
        FigureKind::BarePod,
        (measured, name),
        &ours_timed,
        shown,
        Peer::BarePod.name(),
        &theirs,
    )
}

/// False for a record of Jobs from before a bare pod's end was seen in its log: a task's end was seen there, and the other up to a
/// second later, in its container's state.
fn is_seen_alike(record: &RunRecord) -> bool {
    let mut bare = record.peers.iter().filter(|sample| sample.peer == Peer::BarePod);
    record.provenance.driver == "argo" || bare.any(|sample| sample.state_us.is_some())
}

/// What of ours is compared with a peer: the whole run, or, if the peer has no sandbox or another one, the runner.
fn against_peer(measured: &Measured<'_>, name: &str, kind: FigureKind, peer: Peer) -> Option<Figure> {
    let of: fn(&Sample) -> u64 = match peer {
        Peer::LocalDriver | Peer::DirectExec => |sample| sample.runner_us,
        _ => |sample| sample.wall_us,
    };
    let ours_timed = measured.timed(&accepted(measured.record, name, peer.temperature()), of);
    let theirs = measured.peer(name, peer, compared_us);
    compared(
        kind,
        (measured, name),
        &ours_timed,
        ours(&ours_timed)?,
        peer.short_name(),
        &theirs,
    )
}

/// The time of a peer that is compared, in microseconds: the runner's for the local driver, end-to-end otherwise.
pub(crate) fn compared_us(sample: &PeerSample) -> Option<u64> {
    match sample.peer {
        Peer::LocalDriver => sample.runner_us,
        _ => Some(sample.wall_us),
    }
}

fn against_slower_half(measured: &Measured<'_>, name: &str) -> Option<Figure> {
    let (half, theirs) = slower_half(measured, name)?;
    let walls = first_walls(measured, name);
    compared(
        FigureKind::SlowerHalf,
        (measured, name),
        &walls,
        ours(&walls)?,
        half,
        &theirs,
    )
}

/// The slower of the two measured scenarios that ask for exactly one cache each and together for just what this one
/// asks for, with its first runs' wall times in microseconds.
fn slower_half<'a>(measured: &Measured<'a>, name: &str) -> Option<(&'a str, Vec<Timed>)> {
    let record = measured.record;
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
        let walls = candidates.map(|scenario| (scenario.name.as_str(), first_walls(measured, &scenario.name)));
        walls.into_iter().find(|(_, walls_us)| !walls_us.is_empty())
    };
    let (python, system) = (half(true)?, half(false)?);
    Some(if median(&only_us(&python.1)) > median(&only_us(&system.1)) {
        python
    } else {
        system
    })
}

/// Pair by pair: what stood in one turn is compared, and the median of a round's pairs stands for the round.
fn compared(
    kind: FigureKind,
    (measured, name): (&Measured<'_>, &str),
    ours_timed: &[Timed],
    shown: Ours,
    other: &str,
    theirs: &[Timed],
) -> Option<Figure> {
    let theirs_us = only_us(theirs);
    let against = Against {
        name: other.to_owned(),
        median_us: median(&theirs_us)?,
        n: theirs_us.len(),
    };
    // What takes 0 µs takes less than the clock's resolution.
    let ratio = |one: u64, other: u64| as_f64(one) / as_f64(other).max(1.0);
    let of_pair = |(round, own, their): (u32, u64, u64)| match kind.unit() {
        Unit::Ratio => (round, ratio(own, their)),
        Unit::Duration | Unit::Difference => (round, as_f64(own) - as_f64(their)),
    };
    let scale = match kind.unit() {
        Unit::Ratio => Scale::Ratio,
        Unit::Duration | Unit::Difference => Scale::Difference,
    };
    let values: Vec<(u32, f64)> = pairs(ours_timed, theirs).into_iter().map(of_pair).collect();
    let evidence = Evidence::new(&values, scale, Rule::SignedRank);
    let evidence = evidence.looked_at_repeatedly(measured.looked_at_repeatedly());
    let estimate = Estimate::of(&evidence).or_else(|| unpaired(kind, ours_timed, against.median_us))?;
    Some(Figure::new(kind, name, (estimate, evidence), shown, Some(against)))
}

/// The value of two groups without a single pair: no interval, and no verdict.
fn unpaired(kind: FigureKind, ours: &[Timed], theirs_us: f64) -> Option<Estimate> {
    let ours_us = median(&only_us(ours))?;
    let value = match kind.unit() {
        Unit::Ratio => ours_us / theirs_us.max(1.0),
        Unit::Duration | Unit::Difference => ours_us - theirs_us,
    };
    Some(Estimate {
        value,
        interval: None,
        rounds: 0,
    })
}

fn ours(timed: &[Timed]) -> Option<Ours> {
    Some(Ours {
        n: timed.len(),
        median_us: median(&only_us(timed))?,
    })
}

/// Wall times of the first runs that count.
fn first_walls(measured: &Measured<'_>, name: &str) -> Vec<Timed> {
    measured.timed(&accepted(measured.record, name, Temperature::First), |sample| {
        sample.wall_us
    })
}
