//! The summary of one scenario: its groups, one for each temperature.

use hybrid_cache_model::sample::{Acceptance, Sample};
use hybrid_cache_model::{Claim, Scenario, Temperature};
use serde::Serialize;

use crate::claim::ClaimResult;
use crate::phases::Attribution;
use crate::samples::{Measured, accepted, declared, in_rounds};
use crate::stats::{self, Distribution, Estimate, Evidence, Rule, Scale};

/// One scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioSummary {
    /// Its name.
    pub name: String,
    /// Its groups, coldest first; only temperatures that have a sample or a claim.
    pub groups: Vec<GroupSummary>,
    /// First over cached wall time, each first run with the cached runs of the same caches.
    pub ratio: Option<Estimate>,
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

/// Computes the summary of one scenario. The verdicts on its claims are open.
pub(crate) fn scenario(measured: &Measured<'_>, name: &str) -> ScenarioSummary {
    let groups = Temperature::ALL
        .into_iter()
        .filter_map(|temperature| group(measured, name, temperature))
        .collect();
    ScenarioSummary {
        name: name.to_owned(),
        groups,
        ratio: first_to_cached(measured, name),
    }
}

/// Each first run over the median of the cached runs that used what it left in the caches.
fn first_to_cached(measured: &Measured<'_>, name: &str) -> Option<Estimate> {
    let first = accepted(measured.record, name, Temperature::First);
    let cached = accepted(measured.record, name, Temperature::Cached);
    let ends = first.iter().skip(1).map(|sample| sample.sequence).chain([u32::MAX]);
    let ratio = |(first, end): (&&Sample, u32)| {
        let own = cached
            .iter()
            .filter(|sample| (first.sequence..end).contains(&sample.sequence));
        let walls: Vec<u64> = own.map(|sample| sample.wall_us).collect();
        // What takes 0 µs takes less than the clock's resolution.
        let cached_us = stats::median(&walls)?.max(1.0);
        let round = measured.place(first.sequence, first.place).round;
        Some((round, stats::as_f64(first.wall_us) / cached_us))
    };
    let ratios: Vec<(u32, f64)> = first.iter().zip(ends).filter_map(ratio).collect();
    let evidence = Evidence::new(&ratios, Scale::Ratio, Rule::Order);
    Estimate::of(&evidence.looked_at_repeatedly(measured.looked_at_repeatedly()))
}

fn group(measured: &Measured<'_>, name: &str, temperature: Temperature) -> Option<GroupSummary> {
    let record = measured.record;
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
    let times = |of: fn(&Sample) -> u64| in_rounds(&measured.timed(&samples, of));
    let walls = times(|sample| sample.wall_us);
    let described = |times: &[(u32, u64)]| Distribution::with_evidence(times, &measured.durations(times));
    let count = |is: fn(&Acceptance) -> bool| all.iter().filter(|sample| is(&sample.acceptance)).count();
    Some(GroupSummary {
        temperature,
        accepted: samples.len(),
        rejected: count(|acceptance| matches!(acceptance, Acceptance::WrongTemperature { .. })),
        failed: count(|acceptance| matches!(acceptance, Acceptance::Failed { .. })),
        claim: claim.map(|claim| ClaimResult::new(claim, measured.durations(&walls))),
        wall: described(&walls),
        runner: described(&times(|sample| sample.runner_us)),
        attribution: Attribution::from_samples(&samples),
    })
}
