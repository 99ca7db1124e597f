//! A run as OpenMetrics text (version 1.0), for Prometheus, for GitLab's metrics reports, and for whoever keeps series over runs.

mod exposition;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{Completion, RunRecord};

use crate::claim::Verdict;
use crate::duration_histogram::DurationHistogram;
use crate::figure::{Attainment, Figure, Unit};
use crate::gate::{Answer, Gate, GateOutcome};
use crate::load::LoadSummary;
use crate::samples::accepted;
use crate::stats::{Distribution, Interval, as_f64};
use crate::summary::{GroupSummary, ScenarioSummary, Summary};
use exposition::Exposition;

const SECOND: f64 = 1e6;

/// The file's text. Durations are in seconds. Machine and revision are labels of `…_run_info` alone, so that the other series
/// are the same ones in each run.
pub(crate) fn open_metrics(record: &RunRecord, gate: &Gate) -> String {
    let mut out = Exposition::new(&record.provenance.driver);
    run(&mut out, record);
    if let Some(load) = &record.load {
        of_load(&mut out, &LoadSummary::from_record(load));
        return out.finish();
    }
    if record.levels.is_some() {
        of_levels(&mut out, record);
        return out.finish();
    }
    let summary = Summary::from_record(record);
    times(&mut out, record, &summary);
    counts(&mut out, &summary);
    claims(&mut out, &summary);
    figures(&mut out, &summary);
    of_gate(&mut out, gate);
    out.finish()
}

fn run(out: &mut Exposition, record: &RunRecord) {
    let provenance = &record.provenance;
    // A record whose header was lost does not know it.
    let cpus = match provenance.cpus {
        u32::MAX => "unknown".to_owned(),
        cpus => cpus.to_string(),
    };
    let against = record.against.clone().unwrap_or_default();
    out.family("run", "info", "", "Where, when and with what the run was measured.");
    let labels = [
        ("revision", provenance.revision.as_str()),
        ("dirty", if provenance.dirty { "true" } else { "false" }),
        ("against", &against),
        ("machine", &provenance.cpu),
        ("cpus", &cpus),
        ("arch", &provenance.arch),
        ("os", &provenance.os),
        ("kernel", &provenance.kernel),
        ("interpreter", &provenance.interpreter),
        ("started_at", &provenance.started_at),
    ];
    out.value("_info", &labels, 1.0);
    let complete = record.completion == Completion::Complete;
    out.family("complete", "gauge", "", "1 if the run came to its end.");
    out.value("", &[], f64::from(u8::from(complete)));
    if let Ok(started) = provenance.started_at.parse::<jiff::Timestamp>() {
        out.family(
            "started_timestamp_seconds",
            "gauge",
            "seconds",
            "Start of the run, Unix time.",
        );
        out.value("", &[], started.as_second() as f64);
    }
}

/// Every group with its scenario.
fn groups(summary: &Summary) -> impl Iterator<Item = (&ScenarioSummary, &GroupSummary)> {
    let scenarios = summary.scenarios.iter();
    scenarios.flat_map(|scenario| scenario.groups.iter().map(move |group| (scenario, group)))
}

/// The median of each level with its interval, and the runs behind it.
fn of_levels(out: &mut Exposition, record: &RunRecord) {
    let scenarios = crate::levels::levels(record);
    let rows = || {
        scenarios
            .iter()
            .flat_map(|one| one.levels.iter().map(move |row| (one.name.as_str(), row)))
    };
    let help = "Median time from submit to the end at a level of cold, with the ends of its interval.";
    out.family("level_median_seconds", "gauge", "seconds", help);
    for (name, row) in rows() {
        let Some(wall) = &row.wall else { continue };
        let own = [("scenario", name), ("level", row.level.name())];
        bounded(out, &own, wall.median_us / SECOND, wall.interval, SECOND);
    }
    out.family(
        "level_samples",
        "gauge",
        "",
        "Runs at a level of cold, by whether they count.",
    );
    for (name, row) in rows() {
        for (verdict, count) in [
            ("accepted", row.accepted),
            ("rejected", row.rejected),
            ("failed", row.failed),
        ] {
            let own = [("scenario", name), ("level", row.level.name()), ("verdict", verdict)];
            out.value("", &own, count as f64);
        }
    }
}

type Labels<'a> = [(&'static str, &'a str); 2];

fn labels<'a>(scenario: &'a str, temperature: Temperature) -> Labels<'a> {
    [("scenario", scenario), ("temperature", temperature.name())]
}

fn times(out: &mut Exposition, record: &RunRecord, summary: &Summary) {
    type Of = fn(&GroupSummary) -> Option<&Distribution>;
    type Us = fn(&hybrid_cache_model::sample::Sample) -> u64;
    let clocks: [(&str, &str, Of, Us); 2] = [
        (
            "end_to_end_seconds",
            "Time from submit to the end, by the client's clock.",
            |group| group.wall.as_ref(),
            |sample| sample.wall_us,
        ),
        (
            "runner_seconds",
            "Time from start to exit of the runner, by its own clock.",
            |group| group.runner.as_ref(),
            |sample| sample.runner_us,
        ),
    ];
    for (name, help, of, us) in clocks {
        out.family(name, "summary", "seconds", help);
        for (scenario, group) in groups(summary) {
            let Some(times) = of(group) else { continue };
            let own = labels(&scenario.name, group.temperature);
            let quantiles = [
                ("0.5", Some(times.median_us)),
                ("0.9", times.p90_us.map(as_f64)),
                ("0.99", times.p99_us.map(as_f64)),
            ];
            for (quantile, value) in quantiles {
                let [one, two] = own;
                let Some(value) = value else { continue };
                out.value("", &[one, two, ("quantile", quantile)], value / SECOND);
            }
            let samples = accepted(record, &scenario.name, group.temperature);
            let sum: u64 = samples.iter().map(|sample| us(sample)).sum();
            out.value("_count", &own, times.n as f64);
            out.value("_sum", &own, as_f64(sum) / SECOND);
        }
        let interval = name.replace("_seconds", "_median_seconds");
        out.family(
            &interval,
            "gauge",
            "seconds",
            "The median with the ends of its interval.",
        );
        for (scenario, group) in groups(summary) {
            let Some(times) = of(group) else { continue };
            let own = labels(&scenario.name, group.temperature);
            bounded(out, &own, times.median_us / SECOND, times.interval, SECOND);
        }
    }
}

/// A value and the ends of its interval, distinguished by the label `bound`.
fn bounded(out: &mut Exposition, own: &Labels<'_>, value: f64, interval: Option<Interval>, scale: f64) {
    let ends = interval.map(|interval| [("low", interval.low / scale), ("high", interval.high / scale)]);
    for (bound, value) in [("estimate", value)].into_iter().chain(ends.into_iter().flatten()) {
        let [one, two] = *own;
        out.value("", &[one, two, ("bound", bound)], value);
    }
}

fn counts(out: &mut Exposition, summary: &Summary) {
    out.family("samples", "gauge", "", "Samples, by whether they count.");
    for (scenario, group) in groups(summary) {
        let [one, two] = labels(&scenario.name, group.temperature);
        let counts = [
            ("accepted", group.accepted),
            ("rejected", group.rejected),
            ("failed", group.failed),
        ];
        for (result, count) in counts {
            out.value("", &[one, two, ("result", result)], count as f64);
        }
    }
    out.family(
        "rounds",
        "gauge",
        "",
        "Rounds, each of which counts once in an interval.",
    );
    for (scenario, group) in groups(summary) {
        let rounds = group.wall.as_ref().map_or(0, |wall| wall.rounds);
        out.value("", &labels(&scenario.name, group.temperature), rounds as f64);
    }
}

fn claims(out: &mut Exposition, summary: &Summary) {
    out.family(
        "claim",
        "stateset",
        "",
        "The verdict on what is documented for a group.",
    );
    let all = [
        Verdict::Beaten,
        Verdict::Supported,
        Verdict::Refuted,
        Verdict::Undecided,
    ];
    for (scenario, group, result) in summary.claims() {
        let states = all.map(|verdict| (verdict.name(), verdict == result.verdict));
        out.states(&labels(&scenario.name, group.temperature), &states);
    }
}

fn figures(out: &mut Exposition, summary: &Summary) {
    type Is = fn(&Figure) -> bool;
    let units: [(&str, &str, f64, Is); 2] = [
        ("overhead_ratio", "", 1.0, |figure| figure.kind.unit() == Unit::Ratio),
        ("overhead_seconds", "seconds", SECOND, |figure| {
            figure.kind.unit() != Unit::Ratio
        }),
    ];
    for (name, unit, scale, is_own) in units {
        out.family(
            name,
            "gauge",
            unit,
            "Overhead beside something measured in the same run, and its target.",
        );
        for figure in summary.figures.iter().filter(|figure| is_own(figure)) {
            let own = [("figure", figure.kind.label()), ("scenario", figure.scenario.as_str())];
            bounded(
                out,
                &own,
                figure.estimate.value / scale,
                figure.estimate.interval,
                scale,
            );
            let [one, two] = own;
            out.value("", &[one, two, ("bound", "target")], figure.kind.target() / scale);
        }
    }
    out.family("target", "stateset", "", "Whether the overhead meets its target.");
    for figure in &summary.figures {
        let states = [Attainment::Met, Attainment::Missed, Attainment::Undecided]
            .map(|attainment| (attainment.name(), attainment == figure.attainment));
        let own = [("figure", figure.kind.label()), ("scenario", figure.scenario.as_str())];
        out.states(&own, &states);
    }
}

fn of_gate(out: &mut Exposition, gate: &Gate) {
    out.family(
        "gate",
        "stateset",
        "",
        "The answer of the gate, whether or not it decided the exit code.",
    );
    let states = [
        ("good", GateOutcome::Good),
        ("regression", GateOutcome::Regression),
        ("cannot_tell", GateOutcome::CannotTell),
    ];
    out.states(&[], &states.map(|(name, outcome)| (name, outcome == gate.outcome)));
    out.family("gate_requirements", "gauge", "", "Requirements of the gate, by answer.");
    let answers = [
        ("held", Answer::Held),
        ("broken", Answer::Broken),
        ("open", Answer::Open),
        ("unasked", Answer::Unasked),
    ];
    for (name, answer) in answers {
        let own = gate.requirements.iter().filter(|judged| judged.answer == answer);
        out.value("", &[("answer", name)], own.count() as f64);
    }
}

fn of_load(out: &mut Exposition, load: &LoadSummary<'_>) {
    out.family("load_tasks", "gauge", "", "Tasks under load, by what became of them.");
    for (what, count) in load.outcomes() {
        out.value("", &[("outcome", what)], as_f64(count));
    }
    out.family("load_offered_per_second", "gauge", "", "Tasks that were due a second.");
    out.value("", &[], load.record.offered_per_s);
    out.family("load_achieved_per_second", "gauge", "", "Tasks that ended a second.");
    out.value("", &[], load.achieved_per_s);
    let Some(latency) = DurationHistogram::decode(&load.record.latency) else {
        return;
    };
    out.family(
        "load_latency_seconds",
        "summary",
        "seconds",
        "Time from the scheduled arrival to the end.",
    );
    for (quantile, share) in [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)] {
        out.value("", &[("quantile", quantile)], as_f64(latency.at(share)) / SECOND);
    }
    out.value("_count", &[], as_f64(latency.len()));
}
