//! What the tables of a run or of a comparison show, as JSON for other programs.

use std::path::Path;

use hybrid_cache_model::sample::{Completion, RunRecord};
use serde::Serialize;

use crate::compare::Comparison;
use crate::figure::Figure;
use crate::gate::Gate;
use crate::levels::{ScenarioLevels, levels};
use crate::load::LoadSummary;
use crate::summary::{ScenarioSummary, Summary};
use crate::warning::Warning;

/// A run: everything that its tables show, with the gate's answer.
#[derive(Debug, Serialize)]
pub struct RunFacts<'a> {
    /// Folder of the report.
    report: &'a Path,
    completion: Completion,
    driver: &'a str,
    revision: &'a str,
    started_at: &'a str,
    against: Option<&'a str>,
    scenarios: Vec<ScenarioSummary>,
    figures: Vec<FigureFacts>,
    warnings: Vec<Warning>,
    load: Option<LoadFacts>,
    /// Only in a run that measured levels of cold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    levels: Vec<ScenarioLevels>,
    /// `null` without a baseline.
    comparison: Option<&'a Comparison>,
    /// `null` if no gate was asked for.
    gate: Option<&'a Gate>,
}

/// A figure with its target, in microseconds or as a ratio.
#[derive(Debug, Serialize)]
struct FigureFacts {
    #[serde(flatten)]
    figure: Figure,
    target: f64,
    unit: crate::figure::Unit,
}

/// A run under load.
#[derive(Debug, Serialize)]
struct LoadFacts {
    offered_per_s: f64,
    achieved_per_s: f64,
    counts: hybrid_cache_model::load::LoadCounts,
    headline: String,
}

impl<'a> RunFacts<'a> {
    /// Computes the facts of a run.
    pub fn new(
        report: &'a Path,
        record: &'a RunRecord,
        comparison: Option<&'a Comparison>,
        gate: Option<&'a Gate>,
    ) -> RunFacts<'a> {
        let summary = Summary::from_record(record);
        let figure = |figure: Figure| FigureFacts {
            target: figure.kind.target(),
            unit: figure.kind.unit(),
            figure,
        };
        let load = record.load.as_deref().map(|load| {
            let summary = LoadSummary::from_record(load);
            LoadFacts {
                offered_per_s: load.offered_per_s,
                achieved_per_s: summary.achieved_per_s,
                counts: load.counts,
                headline: summary.headline(),
            }
        });
        RunFacts {
            report,
            completion: record.completion,
            driver: &record.provenance.driver,
            revision: &record.provenance.revision,
            started_at: &record.provenance.started_at,
            against: record.against.as_deref(),
            scenarios: summary.scenarios,
            figures: summary.figures.into_iter().map(figure).collect(),
            warnings: summary.warnings,
            load,
            levels: levels(record),
            comparison,
            gate,
        }
    }
}

/// A comparison with the gate's answer; `gate` is `null` if none was asked for.
#[derive(Debug, Serialize)]
pub struct ComparisonFacts<'a> {
    /// Its groups and cautions.
    #[serde(flatten)]
    comparison: &'a Comparison,
    /// The answer.
    gate: Option<&'a Gate>,
}

impl<'a> ComparisonFacts<'a> {
    /// Puts them together.
    pub fn new(comparison: &'a Comparison, gate: Option<&'a Gate>) -> ComparisonFacts<'a> {
        ComparisonFacts { comparison, gate }
    }
}
