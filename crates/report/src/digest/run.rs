//! The digest of a run.

use std::fmt::Write;

use hybrid_cache_model::sample::{Completion, RunRecord};

use super::answer::write_answer;
use super::levels::write_levels;
use super::load::write_load;
use super::text::{end_fold, fold, inert, table};
use crate::cells::{attainment, counted, distribution, verdict};
use crate::figure::{Attainment, Figure};
use crate::gate::Gate;
use crate::provenance::processors;
use crate::samples::reason;
use crate::summary::{GroupSummary, ScenarioSummary, Summary};
use crate::units;

/// Rows of the tables of groups and of targets, and lines of warnings and of samples that do not count, at most.
const GROUPS: usize = 18;
const FIGURES: usize = 7;
const WARNINGS: usize = 2;
const ASIDE: usize = 2;

/// A run as a digest; `gate` is the answer if one was asked for.
pub fn run_digest(record: &RunRecord, gate: Option<&Gate>) -> String {
    let mut text = String::new();
    if let Some(load) = &record.load {
        write_load(&mut text, load);
    } else if record.levels.is_some() {
        write_levels(&mut text, record);
    } else {
        let summary = Summary::from_record(record);
        write_answer(&mut text, gate, "Measured, not judged");
        write_facts(&mut text, record, &summary);
        if record.against.is_some() {
            two_builds(&mut text, &summary);
        } else {
            groups(&mut text, &summary);
        }
        details(&mut text, record, &summary);
    }
    text
}

/// What was measured, in a line.
fn write_facts(out: &mut String, record: &RunRecord, summary: &Summary) {
    let provenance = &record.provenance;
    let counted: usize = summary
        .scenarios
        .iter()
        .flat_map(|scenario| &scenario.groups)
        .map(|group| group.accepted)
        .sum();
    let _ = write!(
        out,
        "{} of {} samples of {} scenarios count, driver {}, {}, revision {}",
        counted,
        record.samples.len(),
        summary.scenarios.len(),
        inert(&provenance.driver),
        inert(&processors(provenance)),
        inert(&provenance.revision),
    );
    if provenance.dirty {
        out.push_str(" with uncommitted changes");
    }
    if let Some(other) = &record.against {
        let _ = write!(out, ", against {}", inert(other));
    }
    if record.completion == Completion::Interrupted {
        out.push_str(". **The run was interrupted**");
    }
    out.push_str(".\n\n");
}

fn groups(out: &mut String, summary: &Summary) {
    let row = |scenario: &ScenarioSummary, group: &GroupSummary| {
        let [median, interval, ..] = distribution(group.wall.as_ref());
        let claim = group.claim.as_ref();
        [
            inert(&scenario.name),
            group.temperature.name().to_owned(),
            counted(group),
            median,
            interval,
            claim.map_or("–".to_owned(), |claim| {
                units::seconds_range(claim.claim.min_s, claim.claim.max_s)
            }),
            claim.map_or("–".to_owned(), |claim| verdict(claim.verdict)),
        ]
    };
    let rows = summary
        .scenarios
        .iter()
        .flat_map(|scenario| scenario.groups.iter().map(move |group| row(scenario, group)));
    let head = [
        ("scenario", false),
        ("run", false),
        ("n", true),
        ("median", true),
        ("interval", true),
        ("claimed", true),
        ("verdict", false),
    ];
    table(out, head, &rows.collect::<Vec<_>>(), GROUPS);
}

/// Ratios of two builds that were measured side by side.
fn two_builds(out: &mut String, summary: &Summary) {
    let own = summary.figures.iter().filter(|figure| figure.kind.is_of_two_builds());
    let row = |figure: &Figure| {
        let theirs = figure.against.as_ref().map(|other| units::duration(other.median_us));
        [
            inert(&figure.scenario),
            figure.kind.temperature().name().to_owned(),
            figure.counts(),
            units::duration(figure.ours_us),
            theirs.unwrap_or_else(|| "–".to_owned()),
            figure.value(),
            figure.interval(),
            attainment(figure.attainment),
            figure.could_show(),
        ]
    };
    let head = [
        ("scenario", false),
        ("run", false),
        ("n", true),
        ("this build", true),
        ("other build", true),
        ("ratio", true),
        ("interval", true),
        ("at most 1.05×", false),
        ("could show", true),
    ];
    table(out, head, &own.map(row).collect::<Vec<_>>(), GROUPS);
}

fn details(out: &mut String, record: &RunRecord, summary: &Summary) {
    fold(out, "Details");
    let figures = summary.figures.iter().filter(|figure| !figure.kind.is_of_two_builds());
    let mut figures: Vec<&Figure> = figures.collect();
    // What is missed must not be among those left out.
    figures.sort_by_key(|figure| match figure.attainment {
        Attainment::Missed => 0,
        Attainment::Undecided => 1,
        Attainment::Met => 2,
    });
    let row = |figure: &&Figure| {
        [
            figure.kind.label().to_owned(),
            inert(&figure.scenario),
            figure.value(),
            figure.interval(),
            figure.target(),
            attainment(figure.attainment),
        ]
    };
    let rows: Vec<_> = figures.iter().map(row).collect();
    if !rows.is_empty() {
        let head = [
            ("overhead", false),
            ("scenario", false),
            ("value", true),
            ("interval", true),
            ("target", true),
            ("verdict", false),
        ];
        table(out, head, &rows, FIGURES);
        out.push('\n');
    }
    let warnings = summary.warnings.iter().map(|warning| {
        let about = warning.about.as_ref().map(|about| format!("{}: ", inert(about)));
        format!("{}{}", about.unwrap_or_default(), inert(&warning.message))
    });
    let all: Vec<String> = warnings.collect();
    list(out, "warning", &all, WARNINGS);
    let aside = record.samples.iter().filter_map(|sample| {
        let (kind, why) = reason(&sample.acceptance)?;
        let (name, temperature) = (inert(&sample.scenario), sample.temperature.name());
        Some(format!("{name}, {temperature}: {}", inert(why))).map(|text| format!("{kind}: {text}"))
    });
    let aside: Vec<String> = aside.collect();
    list(out, "does not count", &aside, ASIDE);
    let provenance = &record.provenance;
    let _ = writeln!(
        out,
        "- measured: {}, {}, kernel {}, started {}",
        inert(&provenance.command),
        inert(&provenance.os),
        inert(&provenance.kernel),
        inert(&provenance.started_at)
    );
    let _ = writeln!(
        out,
        "- An interval holds the true median in at least 95 of 100 cases. A verdict is proven together with all others."
    );
    end_fold(out);
}

fn list(out: &mut String, what: &str, all: &[String], most: usize) {
    for one in all.iter().take(most) {
        let _ = writeln!(out, "- {what}: {one}");
    }
    if all.len() > most {
        let _ = writeln!(out, "- and {} more like this", all.len() - most);
    }
}
