//! Warnings about figures that look wrong, each with its likely cause and what to do about it.

use hybrid_cache_model::Temperature;
use hybrid_cache_model::mirror::MirrorMode;
use hybrid_cache_model::sample::{Completion, RunRecord, Sample};
use hybrid_cache_model::until::UntilEnd;
use serde::Serialize;

use crate::host_noise;
use crate::mirror;
use crate::samples::{accepted, taken_samples, through_service};
use crate::stats::{self, MIN_ROUNDS, rounds_needed};
use crate::summary::{GroupSummary, ScenarioSummary};
use crate::{units, until};

/// A first sample that is slower than the median of the others by this factor is not taken for noise.
const SLOW_FIRST_FACTOR: f64 = 1.5;
/// Fewest other samples that a first one is held against.
const LEAST_OTHERS: usize = 3;
/// Distance from the median, in median absolute deviations, from which a sample counts as an outlier. The value that
/// Iglewicz and Hoaglin give for a modified Z-score of 10, as hyperfine uses it.
const OUTLIER_DEVIATIONS: f64 = 14.826;
/// Share of stolen CPU time from which a sample counts as noisy.
const STEAL_LIMIT: f64 = 0.05;
/// Share of unattributed time that is still called small.
const UNATTRIBUTED_LIMIT: f64 = 0.05;

/// What a client of a service can do about first runs.
const HOW_TO_MEASURE_FIRST: &str = "`cargo xtask bench` without --service-url measures first runs, each in empty caches; or start the service on an empty --cache-dir";

/// What to do about a noisy machine.
const HOW_TO_MEASURE_QUIETLY: &str = "stop other work on the machine and measure again; if that is not possible, rely on the ratios, whose two \
     sides were disturbed alike (`bench --against` measures both builds in each round), and take more rounds";

/// What kind of thing a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// The run did not come to its end.
    Interrupted,
    /// The checkout had uncommitted changes.
    Dirty,
    /// First runs fetched through a mirror that records.
    Recording,
    /// A scenario has no sample that counts.
    NothingCounts,
    /// Samples failed.
    Failed,
    /// Samples ran at another temperature than they were meant to.
    Rejected,
    /// Fewer first runs than were wished, or none: a client of a task service cannot empty its caches.
    NoFirst,
    /// Too few rounds for an interval, or for a verdict as one of the run's tests.
    FewSamples,
    /// The first sample of a group is much slower than the others.
    SlowFirst,
    /// Some samples are far from the others.
    Outliers,
    /// A run that was to go on until its intervals are narrow ended before.
    NotNarrow,
    /// Other work disturbed the machine.
    HostNoise,
    /// The hypervisor took CPU time away.
    Steal,
    /// Too much time that no span covers.
    Unattributed,
}

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// The scenario and temperature it concerns; absent if it concerns the whole run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What was seen, in a sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Warning {
    fn new(kind: WarningKind, about: Option<String>, message: String, remedy: &str) -> Warning {
        Warning {
            kind,
            about,
            message,
            remedy: remedy.to_owned(),
        }
    }
}

/// All warnings of a run: about the whole first, then by scenario and temperature.
pub(crate) fn collect(record: &RunRecord, scenarios: &[ScenarioSummary], tests: usize) -> Vec<Warning> {
    let mut warnings = about_the_run(record);
    for scenario in scenarios {
        for group in &scenario.groups {
            about_the_group(record, &scenario.name, group, &mut warnings);
        }
    }
    warnings.extend(few_rounds(record, scenarios, tests));
    warnings.extend(one_first_run(record, scenarios));
    warnings
}

fn about_the_run(record: &RunRecord) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let total = taken_samples(record);
    if record.completion == Completion::Interrupted {
        let message = format!("the run was interrupted after {total} samples; the samples taken so far are kept");
        let remedy = "repeat the command for the full number of samples";
        warnings.push(Warning::new(WarningKind::Interrupted, None, message, remedy));
    }
    if record.provenance.dirty {
        let message =
            "the checkout had uncommitted changes, so the revision does not identify what was measured".to_owned();
        warnings.push(Warning::new(
            WarningKind::Dirty,
            None,
            message,
            "commit the changes, then measure again",
        ));
    }
    if record
        .provenance
        .mirror
        .as_ref()
        .is_some_and(|mirror| mirror.mode == MirrorMode::Record)
    {
        let remedy = "their times are no figures; measure with `--mirror replay`";
        warnings.push(Warning::new(
            WarningKind::Recording,
            None,
            mirror::NO_FIGURES.to_owned(),
            remedy,
        ));
    }
    if let Some(until) = record
        .until
        .as_ref()
        .filter(|until| until.ended != Some(UntilEnd::Reached))
    {
        let remedy = match until.ended {
            Some(UntilEnd::Capped) => {
                "raise --until-minutes or accept wider intervals; on a quiet machine fewer rounds are needed"
            }
            Some(UntilEnd::Nothing) => "run a scenario by itself and see how it ends",
            _ => "repeat the command, and let it come to its end",
        };
        let message = until::line(until);
        warnings.push(Warning::new(WarningKind::NotNarrow, None, message, remedy));
    }
    if let Some(message) = host_noise::disturbed(record) {
        warnings.push(Warning::new(
            WarningKind::HostNoise,
            None,
            message,
            HOW_TO_MEASURE_QUIETLY,
        ));
    }
    let stolen: Vec<f64> = record
        .samples
        .iter()
        .filter_map(|s| s.steal)
        .filter(|steal| *steal > STEAL_LIMIT)
        .collect();
    if !stolen.is_empty() {
        let highest = stolen.iter().copied().fold(0.0, f64::max);
        let message = format!(
            "the hypervisor took more than {} of the CPU time during {} of {total} samples (up to {})",
            units::share(STEAL_LIMIT),
            stolen.len(),
            units::share(highest)
        );
        let remedy = "measure on a dedicated machine, or at another time of day";
        warnings.push(Warning::new(WarningKind::Steal, None, message, remedy));
    }
    warnings
}

fn about_the_group(record: &RunRecord, scenario: &str, group: &GroupSummary, warnings: &mut Vec<Warning>) {
    let about = format!("{scenario}, {}", group.temperature.name());
    let mut warn = |kind, message: String, remedy: &str| {
        warnings.push(Warning::new(kind, Some(about.clone()), message, remedy));
    };
    let all = group.accepted + group.rejected + group.failed;
    if group.failed > 0 {
        let message = format!("{} of {all} samples failed and do not count", group.failed);
        warn(
            WarningKind::Failed,
            message,
            "read their reasons under \"Samples that do not count\"",
        );
    }
    if no_first_run(record, group) {
        let message = "there is no first run: the service's caches already held what the scenario needs, from before or from another \
                       scenario of this run, and a client cannot empty them";
        return warn(WarningKind::NoFirst, message.to_owned(), HOW_TO_MEASURE_FIRST);
    }
    if group.rejected > 0 {
        let message = format!(
            "{} of {all} samples found the caches in another state than intended",
            group.rejected
        );
        warn(
            WarningKind::Rejected,
            message,
            "make sure that nothing evicts, fills or expires the caches during the run",
        );
    }
    if group.accepted == 0 {
        return warn(
            WarningKind::NothingCounts,
            "no sample counts".to_owned(),
            "run the scenario by itself and see how it ends",
        );
    }
    let samples = accepted(record, scenario, group.temperature);
    slow_first(&samples, &mut warn);
    outliers(&samples, &mut warn);
    let unattributed = group
        .attribution
        .as_ref()
        .and_then(|attribution| attribution.unattributed());
    if let Some(row) = unattributed.filter(|row| row.share > UNATTRIBUTED_LIMIT) {
        let message = format!(
            "{} of the median sample, {}, is not covered by any span",
            units::share(row.share),
            units::duration(stats::as_f64(row.bar_us))
        );
        warn(
            WarningKind::Unattributed,
            message,
            "find the gap in the waterfall and give that step a span of its own",
        );
    }
}

/// One warning for each number of rounds, as a run plans the same for many groups.
fn few_rounds(record: &RunRecord, scenarios: &[ScenarioSummary], tests: usize) -> Vec<Warning> {
    let needed = rounds_needed(tests);
    let about = |rounds: usize| -> Vec<String> {
        let groups = scenarios
            .iter()
            .flat_map(|s| s.groups.iter().map(move |group| (&s.name, group)));
        // Through a service a scenario has at most one first run; `one_first_run` reports it.
        let wanted = |group: &GroupSummary| group.temperature != Temperature::First || !through_service(record);
        let few = groups.filter(|(_, group)| {
            let own = group.wall.as_ref().map(|wall| wall.rounds);
            own == Some(rounds) && wanted(group)
        });
        few.map(|(name, group)| format!("{name} {}", group.temperature.name()))
            .collect()
    };
    let warn = |rounds: usize| {
        let about = about(rounds);
        let message = if rounds < MIN_ROUNDS {
            format!("rounds: {rounds}, too few for a 95 % interval or a verdict, which need {MIN_ROUNDS}")
        } else {
            format!("rounds: {rounds}, too few for a verdict as one of this run's {tests} tests, which needs {needed}")
        };
        let remedy = format!("take at least {needed} first runs, and {} cached ones", 3 * needed);
        (!about.is_empty()).then(|| Warning::new(WarningKind::FewSamples, Some(about.join("; ")), message, &remedy))
    };
    (1..needed).filter_map(warn).collect()
}

/// True if the only thing wrong with a service's first run is that its caches were warm.
fn no_first_run(record: &RunRecord, group: &GroupSummary) -> bool {
    let warm = group.accepted == 0 && group.rejected > 0 && group.failed == 0;
    warm && group.temperature == Temperature::First && through_service(record)
}

/// The one first run of each scenario that a client of a service can get is no distribution.
fn one_first_run(record: &RunRecord, scenarios: &[ScenarioSummary]) -> Option<Warning> {
    let has_one = |scenario: &&ScenarioSummary| {
        let first = scenario.group(Temperature::First);
        first.is_some_and(|group| group.accepted > 0)
    };
    let about: Vec<&str> = scenarios
        .iter()
        .filter(has_one)
        .map(|scenario| scenario.name.as_str())
        .collect();
    (through_service(record) && !about.is_empty()).then(|| {
        let message = "a client of a service gets at most one first run, which is too few for an interval or a verdict"
            .to_owned();
        Warning::new(
            WarningKind::NoFirst,
            Some(about.join(", ")),
            message,
            HOW_TO_MEASURE_FIRST,
        )
    })
}

fn slow_first(samples: &[&Sample], warn: &mut impl FnMut(WarningKind, String, &str)) {
    let Some((first, others)) = samples.split_first().filter(|(_, others)| others.len() >= LEAST_OTHERS) else {
        return;
    };
    let rest: Vec<u64> = others.iter().map(|sample| sample.wall_us).collect();
    let Some(median_us) = stats::median(&rest) else { return };
    let first_us = stats::as_f64(first.wall_us);
    if first_us > median_us * SLOW_FIRST_FACTOR && rest.iter().all(|us| *us < first.wall_us) {
        let message = format!(
            "the first sample took {}, {} the median of the others: the page cache was probably cold",
            units::duration(first_us),
            units::ratio(first_us / median_us)
        );
        warn(
            WarningKind::SlowFirst,
            message,
            "the median is hardly affected; if the maximum matters, do one warm-up run first",
        );
    }
}

fn outliers(samples: &[&Sample], warn: &mut impl FnMut(WarningKind, String, &str)) {
    let walls: Vec<u64> = samples.iter().map(|sample| sample.wall_us).collect();
    let Some(median_us) = stats::median(&walls).filter(|_| walls.len() >= MIN_ROUNDS) else {
        return;
    };
    let mut deviations: Vec<f64> = walls.iter().map(|us| (stats::as_f64(*us) - median_us).abs()).collect();
    deviations.sort_unstable_by(f64::total_cmp);
    let limit = deviations[deviations.len() / 2] * OUTLIER_DEVIATIONS;
    let outside = deviations.iter().filter(|deviation| **deviation > limit).count();
    if outside > 0 && limit > 0.0 {
        let message = format!("{outside} of {} samples are far from the others", walls.len());
        warn(
            WarningKind::Outliers,
            message,
            "stop other work on the machine; if they recur, look at their phases in report.json",
        );
    }
}
