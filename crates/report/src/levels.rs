//! Runs at levels of cold: what each level takes, what the next warmer one saves, and what was seen of each.

use std::collections::BTreeMap;

use hybrid_cache_model::level::{Level, LevelSeen};
use hybrid_cache_model::sample::{Acceptance, Completion, LevelSample, LevelsRecord, RunRecord, Sample};
use serde::Serialize;

use crate::phases;
use crate::samples::{Timed, in_rounds, only_us, pairs, reason};
use crate::stats::{Distribution, Estimate, Evidence, MIN_ROUNDS, Rule, Scale, as_f64, durations, median};
use crate::units;

/// Explains the columns, below each table.
pub(crate) const COLUMNS: &str = "Time is end-to-end, from submit to the end as the client saw it; at level nothing, bringing the tools is part of it. \
     Saves and ratio compare with the next warmer level, pair by pair within a turn: Hodges-Lehmann, with an interval of about 95 % each and no verdict. \
     A run counts only if what was seen fits its level: the runner's report, the folders of the caches, mincore before the run, and the bytes that its \
     processes read from the disk";

/// The levels of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioLevels {
    /// The scenario's name.
    pub name: String,
    /// Its levels that were measured, coldest first.
    pub levels: Vec<LevelRow>,
}

/// One level of one scenario. Times and what was seen are of the runs that count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelRow {
    /// The level.
    pub level: Level,
    /// Runs that count.
    pub accepted: usize,
    /// Runs that were not at the level.
    pub rejected: usize,
    /// Runs that failed.
    pub failed: usize,
    /// End-to-end time.
    pub wall: Option<Distribution>,
    /// The runner's own time.
    pub runner: Option<Distribution>,
    /// What the next warmer level saves; absent at the warmest, and if nothing stood beside it.
    pub step: Option<LevelStep>,
    /// What was seen, in a phrase.
    pub seen: String,
    /// Median time of each phase that the client waited for, in microseconds, by its label; none that takes no time.
    pub phases: Vec<(&'static str, f64)>,
    /// Why runs do not count, each reason once with its number.
    pub aside: Vec<(String, usize)>,
}

/// A level beside the next warmer one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelStep {
    /// The warmer level: the next one that has runs which count.
    pub warmer: Level,
    /// Turns in which both count.
    pub pairs: usize,
    /// Microseconds that the warmer level takes less.
    pub saves: Estimate,
    /// This level's time over the warmer one's.
    pub ratio: Estimate,
}

impl LevelStep {
    /// What it saves, with the interval if there is one.
    pub(crate) fn saved(&self) -> [String; 2] {
        let interval = self.saves.interval;
        let interval = interval.map(|interval| match interval.low < 0.0 {
            true => format!(
                "{} to {}",
                units::difference(interval.low),
                units::difference(interval.high)
            ),
            false => units::duration_range(interval.low, interval.high),
        });
        let value = match self.saves.value < 0.0 {
            true => units::difference(self.saves.value),
            false => units::duration(self.saves.value),
        };
        [value, interval.unwrap_or_else(|| "–".to_owned())]
    }

    /// The quotient, with the interval if there is one.
    pub(crate) fn quotient(&self) -> [String; 2] {
        let interval = self.ratio.interval.map(|interval| {
            let [low, high] = [interval.low, interval.high].map(units::ratio);
            format!("{}–{high}", low.trim_end_matches('×'))
        });
        [
            units::ratio(self.ratio.value),
            interval.unwrap_or_else(|| "–".to_owned()),
        ]
    }
}

impl LevelRow {
    /// Runs that do not count: `2 rejected, 1 failed`; empty if all do.
    pub(crate) fn not_counted(&self) -> String {
        let aside = [(self.rejected, "rejected"), (self.failed, "failed")];
        let aside = aside.iter().filter(|(count, _)| *count > 0);
        aside
            .map(|(count, what)| format!("{count} {what}"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The cells of a table behind the scenario's name, as [`HEAD`] names them.
    pub(crate) fn cells(&self) -> [String; 10] {
        let dash = || "–".to_owned();
        let [mut saves, saved] = self.step.as_ref().map_or([dash(), dash()], LevelStep::saved);
        if let Some(step) = self
            .step
            .as_ref()
            .filter(|step| self.level.warmer().next() != Some(step.warmer))
        {
            // No run of the next one counts.
            saves = format!("{saves} (to {})", step.warmer.explanation());
        }
        let [ratio, quotient] = self.step.as_ref().map_or([dash(), dash()], LevelStep::quotient);
        let [time, interval, ..] = crate::cells::distribution(self.wall.as_ref());
        [
            self.level.explanation().to_owned(),
            self.accepted.to_string(),
            self.not_counted(),
            time,
            interval,
            saves,
            saved,
            ratio,
            quotient,
            self.seen.clone(),
        ]
    }
}

/// Names of the columns of [`LevelRow::cells`], and whether each holds numbers.
pub(crate) const HEAD: [(&str, bool); 10] = [
    ("before the run", false),
    ("n", true),
    ("not counted", false),
    ("median", true),
    ("interval", true),
    ("next saves", true),
    ("interval", true),
    ("ratio", true),
    ("interval", true),
    ("seen", false),
];

/// All levels of a record, by scenario in the record's order; empty if it has none.
pub fn levels(record: &RunRecord) -> Vec<ScenarioLevels> {
    let Some(levels) = record.levels.as_deref() else {
        return Vec::new();
    };
    let mut names: Vec<&str> = record.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    for sample in &levels.samples {
        if !names.contains(&sample.scenario.as_str()) {
            names.push(&sample.scenario);
        }
    }
    names.iter().map(|name| scenario(levels, name)).collect()
}

fn scenario(levels: &LevelsRecord, name: &str) -> ScenarioLevels {
    let of = |level: Level| -> Vec<&LevelSample> {
        let own = levels.samples.iter();
        own.filter(|sample| sample.scenario == name && sample.level == level)
            .collect()
    };
    let rows = Level::ALL.into_iter().filter_map(|level| {
        let all = of(level);
        let warmer = level.warmer().map(|level| (level, counted(&of(level))));
        let warmer = warmer.into_iter().find(|(_, samples)| !samples.is_empty());
        (!all.is_empty()).then(|| row(level, &all, warmer))
    });
    ScenarioLevels {
        name: name.to_owned(),
        levels: rows.collect(),
    }
}

fn counted<'a>(samples: &[&'a LevelSample]) -> Vec<&'a LevelSample> {
    let own = samples.iter().copied();
    own.filter(|sample| sample.acceptance == Acceptance::Accepted).collect()
}

fn timed(samples: &[&LevelSample], of: fn(&LevelSample) -> u64) -> Vec<Timed> {
    let one = |sample: &&LevelSample| Timed {
        place: sample.place,
        us: of(sample),
    };
    samples.iter().map(one).collect()
}

fn row(level: Level, all: &[&LevelSample], warmer: Option<(Level, Vec<&LevelSample>)>) -> LevelRow {
    let own = counted(all);
    let described = |of: fn(&LevelSample) -> u64| {
        let times = in_rounds(&timed(&own, of));
        Distribution::with_evidence(&times, &durations(&times))
    };
    let count = |is: fn(&Acceptance) -> bool| all.iter().filter(|sample| is(&sample.acceptance)).count();
    let mut aside: Vec<(String, usize)> = Vec::new();
    for (kind, why) in all.iter().filter_map(|sample| reason(&sample.acceptance)) {
        let text = format!("{kind}: {why}");
        match aside.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => aside.push((text, 1)),
        }
    }
    LevelRow {
        level,
        accepted: own.len(),
        rejected: count(|acceptance| matches!(acceptance, Acceptance::WrongTemperature { .. })),
        failed: count(|acceptance| matches!(acceptance, Acceptance::Failed { .. })),
        wall: described(|sample| sample.wall_us),
        runner: described(|sample| sample.runner_us),
        step: warmer.and_then(|(warmer, theirs)| step(&own, warmer, &theirs)),
        seen: seen(level, &own),
        phases: phase_medians(&own),
        aside,
    }
}

fn step(own: &[&LevelSample], warmer: Level, theirs: &[&LevelSample]) -> Option<LevelStep> {
    let [own, theirs] = [own, theirs].map(|samples| timed(samples, |sample| sample.wall_us));
    let pairs = pairs(&own, &theirs);
    let each = |of: fn(f64, f64) -> f64| -> Vec<(u32, f64)> {
        let one = |(round, own, their): &(u32, u64, u64)| (*round, of(as_f64(*own), as_f64(*their)));
        pairs.iter().map(one).collect()
    };
    let estimate = |values: &[(u32, f64)], scale| Estimate::of(&Evidence::new(values, scale, Rule::SignedRank));
    Some(LevelStep {
        warmer,
        pairs: pairs.len(),
        saves: estimate(&each(|own, their| own - their), Scale::Difference)?,
        // What takes 0 µs takes less than the clock's resolution.
        ratio: estimate(&each(|own, their| own.max(1.0) / their.max(1.0)), Scale::Ratio)?,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a median of numbers of bytes, which a u64 held before"
)]
fn bytes(value: f64) -> String {
    units::bytes(value.round() as u64)
}

/// What was seen of the runs that count, in a phrase: medians, but the largest share of pages in memory.
fn seen(level: Level, samples: &[&LevelSample]) -> String {
    let middle = |of: &dyn Fn(&LevelSeen) -> Option<u64>| -> Option<f64> {
        let values: Vec<u64> = samples.iter().filter_map(|sample| of(&sample.seen)).collect();
        median(&values)
    };
    let fetched = middle(&|seen| {
        let caches = [seen.python, seen.system];
        Some(caches.iter().flatten().map(|cache| cache.fetched).sum())
    });
    let fetched = fetched.map(|count| format!("{count:.0} packages downloaded"));
    let read = middle(&|seen| seen.read_bytes).map(|read| format!("{} read from the disk", bytes(read)));
    let tools = middle(&|seen| Some(seen.tools.as_ref()?.bytes));
    let brought = samples.iter().rev().find_map(|sample| sample.seen.tools.as_ref());
    let brought = brought.zip(tools).map(|(last, size)| {
        let own = match last.found.len() {
            0 => String::new(),
            found => format!(", {found} of the machine's own used"),
        };
        format!("{} tools brought, {}{own}", last.brought.len(), bytes(size))
    });
    let shares = samples.iter().filter_map(|sample| sample.seen.left_share());
    let left = shares
        .reduce(f64::max)
        .map(|share| format!("at most {} of the pages still in memory", units::share(share)));
    let faults = middle(&|seen| seen.major_faults).map(|faults| format!("{faults:.0} page faults waited for it"));
    let shown = match level {
        Level::Nothing => vec![brought, fetched],
        Level::Tools | Level::Downloads => vec![fetched],
        Level::Environment => vec![left, read, faults],
        Level::Warm => vec![read, faults],
    };
    shown.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The median of each phase over all samples; a sample without the phase counts as 0.
fn phase_medians(samples: &[&LevelSample]) -> Vec<(&'static str, f64)> {
    let paths: Vec<Vec<_>> = samples.iter().map(|sample| sample.timeline.critical_path()).collect();
    let all = hybrid_cache_model::Phase::ALL.into_iter().map(Some).chain([None]);
    let one = |phase| {
        let us = paths
            .iter()
            .map(|path| path.iter().filter(|(own, _)| *own == phase).map(|(_, us)| us).sum());
        let us: Vec<u64> = us.collect();
        median(&us).filter(|us| *us > 0.0).map(|us| (phases::label(phase), us))
    };
    all.filter_map(one).collect()
}

/// The phases of all levels as a table: each phase with its median at each level, `None` for no time.
pub(crate) fn phase_table(scenario: &ScenarioLevels) -> Vec<(&'static str, Vec<Option<f64>>)> {
    let all = hybrid_cache_model::Phase::ALL.into_iter().map(Some).chain([None]);
    let rows = all.map(phases::label).map(|label| {
        let own = scenario.levels.iter().map(|row| {
            let found = row.phases.iter().find(|(name, _)| *name == label);
            found.map(|(_, us)| *us)
        });
        (label, own.collect::<Vec<_>>())
    });
    rows.filter(|(_, cells)| cells.iter().any(Option::is_some)).collect()
}

/// What a reader should know before trusting a figure, each with what to do.
pub(crate) fn warnings(record: &RunRecord, scenarios: &[ScenarioLevels]) -> Vec<String> {
    let mut warnings = Vec::new();
    if record.completion == Completion::Interrupted {
        warnings.push("the run was interrupted; the samples taken so far are kept".to_owned());
    }
    if record.provenance.dirty {
        warnings.push(
            "the checkout had uncommitted changes, so the revision does not identify what was measured".to_owned(),
        );
    }
    let mut few: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for scenario in scenarios {
        if scenario.levels.is_empty() {
            warnings.push(format!("{}: no level was measured", scenario.name));
        }
        for row in &scenario.levels {
            let about = format!("{}, {}", scenario.name, row.level.explanation());
            for (why, count) in &row.aside {
                warnings.push(format!(
                    "{about}: {count} of {} runs do not count: {why}",
                    row.accepted + row.rejected + row.failed
                ));
            }
            let rounds = row.wall.as_ref().map_or(0, |wall| wall.rounds);
            if rounds < MIN_ROUNDS {
                few.entry(rounds).or_default().push(about);
            }
        }
    }
    for (rounds, about) in few {
        let about = about.join("; ");
        warnings.push(format!("too few rounds for an interval, {rounds} of at least {MIN_ROUNDS}: {about}; take more with --levels and --runs-from-nothing"));
    }
    warnings
}

/// Each scenario in a sentence: `Python only: 5.1 s from nothing, 1.9 s tools, … 95 ms warm`.
pub(crate) fn headline(scenario: &ScenarioLevels) -> String {
    let times = scenario.levels.iter().filter_map(|row| {
        let wall = row.wall.as_ref()?;
        Some(format!("{} {}", units::duration(wall.median_us), row.level.name()))
    });
    let times: Vec<String> = times.collect();
    let times = match times.is_empty() {
        true => "no run counts".to_owned(),
        false => times.join(", "),
    };
    format!("{}: {times}", units::title(&scenario.name))
}

/// Median end-to-end times of the runs that count, for figures.
pub(crate) fn walls(record: &RunRecord, name: &str, level: Level) -> Vec<u64> {
    let samples = record.levels.iter().flat_map(|levels| &levels.samples);
    let own: Vec<&LevelSample> = samples
        .filter(|sample| sample.scenario == name && sample.level == level)
        .collect();
    only_us(&timed(&counted(&own), |sample| sample.wall_us))
}

/// The runs at levels as samples whose scenario has the level in its name, for forms that know no levels.
pub(crate) fn as_samples(record: &RunRecord) -> Vec<Sample> {
    let one = |run: &LevelSample| Sample {
        schema: record.schema,
        scenario: format!("{} from {}", run.scenario, run.level.name()),
        temperature: run.level.temperature(),
        sequence: run.sequence,
        place: Some(run.place),
        started_at: run.started_at.clone(),
        wall_us: run.wall_us,
        runner_us: run.runner_us,
        end: run.end.clone(),
        cache: run.cache,
        timeline: run.timeline.clone(),
        acceptance: run.acceptance.clone(),
        load1: run.load1,
        steal: run.steal,
        noise: run.noise.clone(),
    };
    record
        .levels
        .iter()
        .flat_map(|levels| &levels.samples)
        .map(one)
        .collect()
}
