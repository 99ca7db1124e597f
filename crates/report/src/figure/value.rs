//! One figure: a value with its interval, what it is compared with, and whether it meets its target.

use serde::Serialize;

use super::kind::FigureKind;
use crate::stats::{ALPHA, Decision, Estimate, Evidence};
use crate::units;

/// What the samples say about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attainment {
    /// The whole interval lies at or below the target.
    Met,
    /// The whole interval lies above it.
    Missed,
    /// Too few rounds, an interval across the target, or not proven as one of several tests.
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

    /// A mark next to the word, so that colour never carries the verdict alone.
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
    /// Median of our own side, in microseconds; includes user code even if the value excludes it.
    pub ours_us: f64,
    /// What it is compared with, or what is shown with it; absent if it is compared with its own user code alone.
    pub against: Option<Against>,
    /// What the samples say about [`FigureKind::target`].
    pub attainment: Attainment,
    /// The test behind it.
    pub decision: Decision,
    /// The side of the target on which the samples lie, proven or not.
    #[serde(skip)]
    side: Attainment,
    /// One value for each round.
    #[serde(skip)]
    evidence: Evidence,
}

/// Our side of a figure.
pub(super) struct Ours {
    /// Samples that count.
    pub n: usize,
    /// Their median, in microseconds.
    pub median_us: f64,
}

impl Figure {
    /// Tests the evidence against the kind's target. The verdict is open until [`Figure::conclude`].
    pub(super) fn new(
        kind: FigureKind,
        scenario: &str,
        (estimate, evidence): (Estimate, Evidence),
        ours: Ours,
        against: Option<Against>,
    ) -> Figure {
        let target = kind.target();
        let (met, missed) = (evidence.p_at_most(target), evidence.p_above(target));
        let (side, p) = if met <= missed {
            (Attainment::Met, met)
        } else {
            (Attainment::Missed, missed)
        };
        Figure {
            kind,
            scenario: scenario.to_owned(),
            estimate,
            n: ours.n,
            ours_us: ours.median_us,
            against,
            attainment: Attainment::Undecided,
            decision: Decision::alone(p),
            side,
            evidence,
        }
    }

    /// Decides, as one of the tests of a family, with the p that the family's correction leaves.
    pub(crate) fn conclude(&mut self, adjusted: f64, tests: usize) {
        self.decision = self.decision.corrected(adjusted, tests, &self.evidence);
        if self.decision.is_proven() {
            self.attainment = self.side;
        }
    }

    /// One-sided p for "the value is at most the target", and for "it is above".
    pub(crate) fn p_of_the_target(&self) -> (f64, f64) {
        let target = self.kind.target();
        (self.evidence.p_above(target), self.evidence.p_at_most(target))
    }

    /// Half the width of the interval as a share of the value, for a ratio; `None` without an interval.
    pub(crate) fn half_width(&self) -> Option<f64> {
        self.evidence.half_width()
    }

    /// Rounds on which the verdict rests.
    pub fn rounds(&self) -> usize {
        self.evidence.rounds()
    }

    /// The value as text.
    pub fn value(&self) -> String {
        self.kind.unit().write(self.estimate.value)
    }

    /// The interval as text, a dash if there is none.
    pub fn interval(&self) -> String {
        let unit = self.kind.unit();
        self.estimate.interval.map_or_else(
            || "–".to_owned(),
            |interval| unit.write_range(interval.low, interval.high),
        )
    }

    /// The target as text: `≤ 10 ms`.
    pub fn target(&self) -> String {
        self.kind.written_target()
    }

    /// Samples on our side, and on the other: `12 / 12`.
    pub fn counts(&self) -> String {
        match &self.against {
            Some(against) => format!("{} / {}", self.n, against.n),
            None => self.n.to_string(),
        }
    }

    /// What was measured on both sides: `95.1 ms / 92.0 ms`, with the name if the kind does not imply it.
    pub fn sides(&self) -> String {
        let ours = units::duration(self.ours_us);
        let Some(against) = &self.against else {
            return format!("of {ours}");
        };
        let theirs = units::duration(against.median_us);
        match self.kind {
            FigureKind::SlowerHalf => format!("{ours} / {theirs} {}", against.name),
            FigureKind::ServiceOverhead | FigureKind::EndToEnd => format!("of {ours}; {} {theirs}", against.name),
            FigureKind::BarePod => format!("{ours} with user code / {theirs}"),
            _ => format!("{ours} / {theirs}"),
        }
    }

    /// Why nothing is decided, in a phrase; `None` if it is decided, or if the interval shows it.
    pub fn open_because(&self) -> Option<String> {
        let tests = self.decision.tests;
        let compared = self.against.is_some() && self.kind.is_paired();
        match self.attainment {
            Attainment::Met | Attainment::Missed => None,
            Attainment::Undecided if compared && self.evidence.rounds() == 0 => {
                Some("nothing stood side by side".to_owned())
            }
            Attainment::Undecided => self.decision.too_few(self.evidence.rounds()).or_else(|| {
                let alone = self.decision.p <= ALPHA;
                alone.then(|| format!("{} by itself, not as one of {tests} tests", self.side.name()))
            }),
        }
    }

    /// The smallest distance from the target that this run could have shown, as text; a dash if it could show none.
    pub fn could_show(&self) -> String {
        let effect = self.decision.smallest_effect;
        effect.map_or("–".to_owned(), |effect| self.kind.unit().write_effect(effect))
    }
}

/// One phrase, for a gate's message: `hybrid: overhead of a cached run: 12.1 ms (11.8–12.6 ms), target ≤ 10 ms`.
impl std::fmt::Display for Figure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (label, value, interval) = (self.kind.label(), self.value(), self.interval());
        let name = &self.scenario;
        write!(out, "{name}: {label}: {value} ({interval}), target {}", self.target())
    }
}
