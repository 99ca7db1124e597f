//! What we add: a run's cost on top of the work itself, held against targets.
//!
//! Every figure compares samples of the same run with each other, so that it says something about us and not about the
//! machine: a cached run against its own user code and against the same interpreter without us, a first run against
//! plain uv and against the slower of its two halves.

use hybrid_cache_model::sample::{Peer, RunRecord, Sample};
use hybrid_cache_model::{Phase, Scenario, Temperature};
use serde::Serialize;

use crate::stats::{Estimate, MIN_SAMPLES, median};
use crate::units;
use crate::warning::accepted;

/// What a figure is about. The list is closed: a report knows every panel it may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureKind {
    /// Cached: wall time less user code, sandbox included.
    Added,
    /// Cached: the runner's life over that of the same interpreter exec'ed directly.
    DirectRatio,
    /// Cached: the runner's life less that of the same interpreter exec'ed directly.
    DirectDifference,
    /// First: wall time over that of plain uv on an empty cache.
    PlainUv,
    /// First: wall time of a task that asks for both caches over that of its slower half alone.
    SlowerHalf,
}

/// What a figure's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Microseconds, never below 0.
    Duration,
    /// Microseconds more than something else, below 0 where it is less.
    Difference,
    /// Times something else.
    Ratio,
}

impl FigureKind {
    /// All kinds in the order in which a report shows them.
    pub const ALL: [FigureKind; 5] = [
        FigureKind::Added,
        FigureKind::DirectRatio,
        FigureKind::DirectDifference,
        FigureKind::PlainUv,
        FigureKind::SlowerHalf,
    ];

    /// The name in a table.
    pub fn label(self) -> &'static str {
        match self {
            FigureKind::Added => "added to a cached run",
            FigureKind::DirectRatio => "cached run / direct exec",
            FigureKind::DirectDifference => "cached run − direct exec",
            FigureKind::PlainUv => "first run / plain uv",
            FigureKind::SlowerHalf => "first run / slower half",
        }
    }

    /// What is compared with what, in a sentence without a full stop.
    pub fn explanation(self) -> &'static str {
        match self {
            FigureKind::Added => "Wall time of a cached run less its user code, the sandbox included",
            FigureKind::DirectRatio => {
                "The runner from start to exit, against the same prepared interpreter started directly"
            }
            FigureKind::DirectDifference => "The same two, one less the other",
            FigureKind::PlainUv => "Wall time of a first run, against uv venv, uv pip install and the program by hand",
            FigureKind::SlowerHalf => {
                "Wall time of a first run that fills both caches, against the slower of the two alone"
            }
        }
    }

    /// What the value counts.
    pub fn unit(self) -> Unit {
        match self {
            FigureKind::Added => Unit::Duration,
            FigureKind::DirectDifference => Unit::Difference,
            FigureKind::DirectRatio | FigureKind::PlainUv | FigureKind::SlowerHalf => Unit::Ratio,
        }
    }

    /// The value that must not be exceeded, in microseconds or as a quotient; see [`FigureKind::unit`].
    pub fn target(self) -> f64 {
        match self {
            FigureKind::Added => 10_000.0,
            FigureKind::DirectRatio => 1.05,
            FigureKind::DirectDifference => 5_000.0,
            FigureKind::PlainUv => 1.10,
            FigureKind::SlowerHalf => 1.15,
        }
    }
}

impl Unit {
    /// The value at which we would add nothing.
    pub fn nothing(self) -> f64 {
        match self {
            Unit::Duration | Unit::Difference => 0.0,
            Unit::Ratio => 1.0,
        }
    }

    /// A value as text.
    pub fn write(self, value: f64) -> String {
        match self {
            Unit::Duration => units::duration(value),
            Unit::Difference => units::difference(value),
            Unit::Ratio => units::ratio(value),
        }
    }

    /// A range of values as text.
    pub fn write_range(self, low: f64, high: f64) -> String {
        match self {
            Unit::Duration => units::duration_range(low, high),
            Unit::Difference => format!("{} to {}", units::difference(low), units::difference(high)),
            Unit::Ratio => format!("{}–{}", units::ratio(low).trim_end_matches('×'), units::ratio(high)),
        }
    }
}

/// What the samples say about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attainment {
    /// The whole interval lies at or below the target.
    Met,
    /// The whole interval lies above it.
    Missed,
    /// Too few samples, or an interval across the target.
    Undecided,
}

impl Attainment {
    /// The word in a report.
    pub fn name(self) -> &'static str {
        match self {
            Attainment::Met => "met",
            Attainment::Missed => "missed",
            Attainment::Undecided => "undecided",
        }
    }

    /// A mark beside the word, so that colour never carries the verdict alone.
    pub fn mark(self) -> &'static str {
        match self {
            Attainment::Met => "✓",
            Attainment::Missed => "✗",
            Attainment::Undecided => "?",
        }
    }
}

/// The other side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Against {
    /// A peer's name or another scenario's.
    pub name: String,
    /// Its median, in microseconds.
    pub median_us: f64,
    /// Its samples.
    pub n: usize,
}

/// One figure of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What it is about.
    pub kind: FigureKind,
    /// The scenario's name.
    pub scenario: String,
    /// The value and its interval, in the kind's [`Unit`].
    pub estimate: Estimate,
    /// Our own samples that count.
    pub n: usize,
    /// Median of our own side, in microseconds.
    pub ours_us: f64,
    /// What it is compared with; absent where it is compared with its own user code.
    pub against: Option<Against>,
    /// What the samples say about [`FigureKind::target`].
    pub attainment: Attainment,
}

impl Figure {
    /// The value as text.
    pub fn value(&self) -> String {
        self.kind.unit().write(self.estimate.value)
    }

    /// The interval as text, a dash where there is none.
    pub fn interval(&self) -> String {
        let unit = self.kind.unit();
        self.estimate.interval.map_or_else(
            || "–".to_owned(),
            |interval| unit.write_range(interval.low, interval.high),
        )
    }

    /// The target as text: `≤ 10 ms`.
    pub fn target(&self) -> String {
        target(self.kind)
    }

    /// Samples on our side, and on the other: `12 / 12`.
    pub fn counts(&self) -> String {
        match &self.against {
            Some(against) => format!("{} / {}", self.n, against.n),
            None => self.n.to_string(),
        }
    }

    /// What was measured on both sides: `95.1 ms / 92.0 ms`, with the name where the kind does not tell it.
    pub fn sides(&self) -> String {
        let ours = units::duration(self.ours_us);
        let Some(against) = &self.against else {
            return format!("of {ours}");
        };
        let theirs = units::duration(against.median_us);
        match self.kind {
            FigureKind::SlowerHalf => format!("{ours} / {theirs} {}", against.name),
            _ => format!("{ours} / {theirs}"),
        }
    }

    /// Why nothing can be decided; `None` where the interval, which stands beside it, tells.
    pub fn open_because(&self) -> Option<String> {
        let fewest = self.against.as_ref().map_or(self.n, |against| against.n.min(self.n));
        let missing = self.estimate.interval.is_none();
        missing.then(|| format!("n = {fewest}, at least {MIN_SAMPLES} are needed"))
    }
}

/// One phrase, for a gate's message: `hybrid: added to a cached run: 12.1 ms (11.8–12.6 ms), target ≤ 10 ms`.
impl std::fmt::Display for Figure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (label, value, interval) = (self.kind.label(), self.value(), self.interval());
        let name = &self.scenario;
        write!(out, "{name}: {label}: {value} ({interval}), target {}", self.target())
    }
}

/// A kind's target as text.
pub(crate) fn target(kind: FigureKind) -> String {
    let written = match kind.unit() {
        Unit::Ratio => format!("{:.2}×", kind.target()),
        Unit::Duration | Unit::Difference => format!("{} ms", kind.target() / 1000.0),
    };
    format!("≤ {written}")
}

/// All figures that the record's samples carry, by kind, then in the order of the record's scenarios.
pub(crate) fn collect(record: &RunRecord, scenarios: &[&str]) -> Vec<Figure> {
    let of = |kind, name: &&str| match kind {
        FigureKind::Added => added(record, name),
        FigureKind::DirectRatio | FigureKind::DirectDifference => against_direct_exec(record, name, kind),
        FigureKind::PlainUv => against_plain_uv(record, name),
        FigureKind::SlowerHalf => against_slower_half(record, name),
    };
    FigureKind::ALL
        .into_iter()
        .flat_map(|kind| scenarios.iter().filter_map(move |name| of(kind, name)))
        .collect()
}

fn added(record: &RunRecord, name: &str) -> Option<Figure> {
    let mut samples = accepted(record, name, Temperature::Cached);
    // Without the span of the user's code, all of a run would pass for our own.
    samples.retain(|sample| sample.timeline.spans.iter().any(|span| span.phase == Phase::UserCode));
    let added_us: Vec<u64> = samples
        .iter()
        .map(|sample| sample.wall_us.saturating_sub(sample.timeline.phase_us(Phase::UserCode)))
        .collect();
    let ours_us = durations(&samples, |sample| sample.wall_us);
    let estimate = Estimate::median(&added_us)?;
    figure(FigureKind::Added, name, estimate, &ours_us, None)
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
    let theirs_us: Vec<u64> = record
        .peers
        .iter()
        .filter(|sample| sample.scenario == name && sample.peer == peer)
        .map(|sample| sample.wall_us)
        .collect();
    // The full name is a sentence about the peer; in a figure the kind says the rest.
    let short = match peer {
        Peer::PlainUv => "plain uv",
        Peer::DirectExec | Peer::BarePod | Peer::LocalDriver => peer.name(),
    };
    compared(kind, name, ours_us, short, &theirs_us)
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
