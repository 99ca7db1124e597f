//! Summaries, computed from a record whenever it is read and never stored beside it.

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{Acceptance, LayerUsage, RunRecord, Sample};
use hybrid_cache_model::{Claim, Scenario};
use serde::Serialize;

use crate::claim::{self, ClaimResult, Verdict};
use crate::figure::{self, Attainment, Figure, FigureKind};
use crate::phases::Attribution;
use crate::stats::{Distribution, Ratio};
use crate::warning::{self, Warning, accepted};

/// Everything a rendered report says, computed from a [`RunRecord`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// By scenario, in the order of the record.
    pub scenarios: Vec<ScenarioSummary>,
    /// What we add, by kind and then by scenario; only figures that samples of this run carry.
    pub figures: Vec<Figure>,
    /// What a reader should know before trusting a figure.
    pub warnings: Vec<Warning>,
}

/// One scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioSummary {
    /// Its name.
    pub name: String,
    /// Its groups, coldest first; only temperatures that have a sample or a claim.
    pub groups: Vec<GroupSummary>,
    /// Median first over median cached wall time.
    pub ratio: Option<Ratio>,
}

/// All samples of one scenario at one temperature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupSummary {
    /// The temperature.
    pub temperature: Temperature,
    /// Samples that count.
    pub accepted: usize,
    /// Samples that ran at another temperature than they were meant to.
    pub rejected: usize,
    /// Samples that failed.
    pub failed: usize,
    /// From submit to the end as the client saw it; accepted samples only.
    pub wall: Option<Distribution>,
    /// From the runner's start to its exit by its own clock; accepted samples only.
    pub runner: Option<Distribution>,
    /// Where the time went.
    pub attribution: Option<Attribution>,
    /// The verdict on what is claimed for this group.
    pub claim: Option<ClaimResult>,
}

impl Summary {
    /// Computes the summary of a record.
    pub fn from_record(record: &RunRecord) -> Summary {
        let names = scenario_names(record);
        let scenarios: Vec<ScenarioSummary> = names.iter().map(|name| scenario(record, name)).collect();
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

    /// True where the samples refute at least one claim.
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

impl ScenarioSummary {
    /// The group of one temperature.
    pub fn group(&self, temperature: Temperature) -> Option<&GroupSummary> {
        self.groups.iter().find(|group| group.temperature == temperature)
    }

    /// The measured temperatures' medians with the group, coldest first.
    pub fn measured(&self) -> impl Iterator<Item = (&GroupSummary, &Distribution)> {
        self.groups
            .iter()
            .filter_map(|group| Some((group, group.wall.as_ref()?)))
    }
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

/// False for a layer of a cache that the scenario does not ask for: a row of zeros says nothing.
pub(crate) fn holds_something(layer: &LayerUsage) -> bool {
    layer.bytes > 0 || layer.inodes > 0 || layer.entries > 0
}

/// What is claimed of a scenario at a temperature.
fn claimed(scenario: Option<&Scenario>, temperature: Temperature) -> Option<Claim> {
    let expect = &scenario?.expect;
    match temperature {
        Temperature::Uncached => None,
        Temperature::First => expect.first,
        Temperature::Cached => expect.cached,
    }
}

fn scenario(record: &RunRecord, name: &str) -> ScenarioSummary {
    let groups = Temperature::ALL
        .into_iter()
        .filter_map(|temperature| group(record, name, temperature))
        .collect();
    let walls = |temperature| -> Vec<u64> {
        accepted(record, name, temperature)
            .iter()
            .map(|sample| sample.wall_us)
            .collect()
    };
    let ratio = Ratio::of(&walls(Temperature::First), &walls(Temperature::Cached));
    ScenarioSummary {
        name: name.to_owned(),
        groups,
        ratio,
    }
}

fn group(record: &RunRecord, name: &str, temperature: Temperature) -> Option<GroupSummary> {
    let claim = claimed(declared(record, name), temperature);
    let all: Vec<&Sample> = record
        .samples
        .iter()
        .filter(|sample| sample.scenario == name && sample.temperature == temperature)
        .collect();
    if all.is_empty() && claim.is_none() {
        return None;
    }
    let samples = accepted(record, name, temperature);
    let distribution = |of: fn(&Sample) -> u64| {
        let values: Vec<u64> = samples.iter().map(|sample| of(sample)).collect();
        Distribution::of(&values)
    };
    let wall = distribution(|sample| sample.wall_us);
    let count = |is: fn(&Acceptance) -> bool| all.iter().filter(|sample| is(&sample.acceptance)).count();
    Some(GroupSummary {
        temperature,
        accepted: samples.len(),
        rejected: count(|acceptance| matches!(acceptance, Acceptance::WrongTemperature { .. })),
        failed: count(|acceptance| matches!(acceptance, Acceptance::Failed { .. })),
        claim: claim.map(|claim| claim::judge(claim, wall.as_ref())),
        wall,
        runner: distribution(|sample| sample.runner_us),
        attribution: Attribution::of(&samples),
    })
}
