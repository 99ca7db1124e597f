//! The summary of one scenario: its groups, one for each temperature.

use hybrid_cache_model::sample::{Acceptance, RunRecord, Sample};
use hybrid_cache_model::{Claim, Scenario, Temperature};
use serde::Serialize;

use crate::claim::{self, ClaimResult};
use crate::phases::Attribution;
use crate::samples::{accepted, declared};
use crate::stats::{Distribution, Ratio};

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

/// What is claimed of a scenario at a temperature.
fn claimed(scenario: Option<&Scenario>, temperature: Temperature) -> Option<Claim> {
    let expect = &scenario?.expect;
    match temperature {
        Temperature::Uncached => None,
        Temperature::First => expect.first,
        Temperature::Cached => expect.cached,
    }
}

/// Computes the summary of one scenario.
pub(crate) fn scenario(record: &RunRecord, name: &str) -> ScenarioSummary {
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
    let ratio = Ratio::from_durations(&walls(Temperature::First), &walls(Temperature::Cached));
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
        Distribution::from_durations(&values)
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
        attribution: Attribution::from_samples(&samples),
    })
}
