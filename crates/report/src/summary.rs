//! Summaries, computed from a record whenever it is read and never stored with it.

mod scenario;

use hybrid_cache_model::sample::{LayerUsage, RunRecord};
use serde::Serialize;

use crate::claim::{ClaimResult, Verdict};
use crate::figure::{self, Attainment, Figure, FigureKind};
use crate::samples::scenario_names;
use crate::warning::{self, Warning};

pub use scenario::{GroupSummary, ScenarioSummary};

/// Everything a rendered report says, computed from a [`RunRecord`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// By scenario, in the order of the record.
    pub scenarios: Vec<ScenarioSummary>,
    /// The overhead, by kind and then by scenario; only figures that this run has samples for.
    pub figures: Vec<Figure>,
    /// What a reader should know before trusting a figure.
    pub warnings: Vec<Warning>,
}

impl Summary {
    /// Computes the summary of a record.
    pub fn from_record(record: &RunRecord) -> Summary {
        let names = scenario_names(record);
        let scenarios: Vec<ScenarioSummary> = names.iter().map(|name| scenario::scenario(record, name)).collect();
        let warnings = warning::collect(record, &scenarios);
        Summary {
            figures: figure::collect(record, &names),
            scenarios,
            warnings,
        }
    }

    /// Every claim with its scenario and group.
    pub fn claims(&self) -> impl Iterator<Item = (&ScenarioSummary, &GroupSummary, &ClaimResult)> {
        self.scenarios.iter().flat_map(|scenario| {
            scenario
                .groups
                .iter()
                .filter_map(move |group| Some((scenario, group, group.claim.as_ref()?)))
        })
    }

    /// True if the samples refute at least one claim.
    pub fn refutes_a_claim(&self) -> bool {
        self.claims().any(|(_, _, result)| result.verdict == Verdict::Refuted)
    }

    /// Figures whose whole interval lies above their target: what a gate fails on.
    pub fn missed_figures(&self) -> Vec<&Figure> {
        self.figures
            .iter()
            .filter(|figure| figure.attainment == Attainment::Missed)
            .collect()
    }

    /// What a gate fails on, in a sentence each: claims that the samples refute, and figures that miss their target.
    pub fn broken(&self) -> Vec<String> {
        let refuted = self
            .claims()
            .filter(|(_, _, result)| result.verdict == Verdict::Refuted);
        let claims = refuted.map(|(scenario, group, result)| {
            let (name, temperature) = (&scenario.name, group.temperature.name());
            format!("{name} {temperature}: claim refuted: {}", result.reason)
        });
        let figures = self.missed_figures().into_iter().map(|figure| {
            let (what, value, target) = (figure.kind.label(), figure.value(), figure.target());
            format!("{} {what}: {value}, target {target}", figure.scenario)
        });
        claims.chain(figures).collect()
    }

    /// Figures of one kind, in the order of the record's scenarios.
    pub fn figures_of(&self, kind: FigureKind) -> impl Iterator<Item = &Figure> {
        self.figures.iter().filter(move |figure| figure.kind == kind)
    }
}

/// False for a layer of a cache that the scenario does not ask for: a row of zeros says nothing.
pub(crate) fn holds_something(layer: &LayerUsage) -> bool {
    layer.bytes > 0 || layer.inodes > 0 || layer.entries > 0
}
