//! A run as Markdown, for pull requests and wikis.

use std::fmt::Write;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{Acceptance, RunRecord};

use crate::figure::FigureKind;
use crate::load::LoadSummary;
use crate::phases::Attribution;
use crate::stats::as_f64;
use crate::summary::{ScenarioSummary, Summary, declared, holds_something};
use crate::terminal::{attainment, claim, counted, figures, ratio};
use crate::units;

/// Client-seen over inside from which a headline tells both.
const FAR: f64 = 2.0;

/// The whole report as Markdown.
pub fn markdown(record: &RunRecord) -> String {
    if let Some(load) = &record.load {
        return crate::load::markdown(record, &LoadSummary::of(load));
    }
    let summary = Summary::from_record(record);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut text, record, &summary);
    text
}

fn write_report(out: &mut String, record: &RunRecord, summary: &Summary) -> std::fmt::Result {
    let provenance = &record.provenance;
    writeln!(
        out,
        "# First and cached latency, driver `{}`\n",
        escape(&provenance.driver)
    )?;
    writeln!(
        out,
        "{} samples of {} scenarios, started {} at revision `{}`{}.\n",
        record.samples.len(),
        summary.scenarios.len(),
        escape(&provenance.started_at),
        escape(&provenance.revision),
        if provenance.dirty {
            " with uncommitted changes"
        } else {
            ""
        }
    )?;
    if let Some(service) = crate::provenance::through_service(record) {
        writeln!(out, "This was {}.\n", escape(&service))?;
    }
    for scenario in &summary.scenarios {
        writeln!(out, "- {}", escape(&headline(scenario)))?;
    }
    write_latency(out, summary)?;
    write_figures(out, summary)?;
    for scenario in &summary.scenarios {
        write_scenario(out, record, scenario)?;
    }
    write_warnings(out, record, summary)?;
    write_provenance(out, record)
}

/// The scenario in one sentence: `Python only: 1.90 s first, 101 ms cached — 18.8×; claim 10–60 s: beaten`.
pub(crate) fn headline(scenario: &ScenarioSummary) -> String {
    let times: Vec<String> = scenario
        .measured()
        .map(|(group, wall)| {
            let time = format!("{} {}", units::duration(wall.median_us), group.temperature.name());
            match &group.runner {
                // On a machine the two are near each other; in a pod they are not.
                Some(runner) if group.temperature == Temperature::Cached && wall.median_us > FAR * runner.median_us => {
                    format!("{time} ({} inside)", units::duration(runner.median_us))
                }
                _ => time,
            }
        })
        .collect();
    let mut text = format!("{}: {}", units::title(&scenario.name), times.join(", "));
    if times.is_empty() {
        text.push_str("no sample counts");
    }
    if let Some(ratio) = &scenario.ratio {
        let _ = write!(text, " — {}", units::ratio(ratio.value));
    }
    let claims: Vec<_> = scenario
        .groups
        .iter()
        .filter_map(|group| group.claim.as_ref())
        .collect();
    let range = |claim: &crate::claim::ClaimResult| units::seconds_range(claim.claim.min_s, claim.claim.max_s);
    match claims.as_slice() {
        [] => {}
        [first, rest @ ..] if rest.iter().all(|claim| claim.verdict == first.verdict) => {
            let ranges: Vec<String> = claims.iter().map(|claim| range(claim)).collect();
            let _ = write!(text, "; claim {}: {}", ranges.join(" / "), first.verdict.name());
        }
        claims => {
            let each: Vec<String> = claims
                .iter()
                .map(|c| format!("claim {}: {}", range(c), c.verdict.name()))
                .collect();
            let _ = write!(text, "; {}", each.join(", "));
        }
    }
    text
}

fn write_latency(out: &mut String, summary: &Summary) -> std::fmt::Result {
    writeln!(
        out,
        "\n## Latency\n\n*Client-seen* is the time from submit to the end seen, as the client measured it. *Inside* is the time \
         from start to exit of the runner that ran the task, in its sandbox or pod, by its own clock.\n"
    )?;
    writeln!(
        out,
        "| scenario | temperature | n | client-seen: median | interval | p90 | min–max | inside: median | interval | claim | first/cached |"
    )?;
    writeln!(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|---|--:|")?;
    for scenario in &summary.scenarios {
        for (index, group) in scenario.groups.iter().enumerate() {
            let [median, interval, p90, range] = figures(group.wall.as_ref());
            let claim = group.claim.as_ref().map(claim).unwrap_or_default();
            let last = index + 1 == scenario.groups.len();
            let ratio = scenario.ratio.as_ref().filter(|_| last).map(ratio).unwrap_or_default();
            let name = escape(&scenario.name);
            let (temperature, n) = (group.temperature.name(), counted(group));
            let [inside, inside_interval, ..] = figures(group.runner.as_ref());
            writeln!(
                out,
                "| {name} | {temperature} | {n} | {median} | {interval} | {p90} | {range} | {inside} | {inside_interval} | {claim} | {ratio} |"
            )?;
        }
    }
    Ok(())
}

fn write_figures(out: &mut String, summary: &Summary) -> std::fmt::Result {
    if summary.figures.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## What we add\n")?;
    let measured = |kind: &FigureKind| summary.figures_of(*kind).next().is_some();
    for kind in FigureKind::ALL.into_iter().filter(measured) {
        writeln!(out, "- **{}**: {}.", kind.label(), kind.explanation())?;
    }
    writeln!(
        out,
        "\n| figure | scenario | n | value | interval | measured | target | verdict |\n|---|---|--:|--:|--:|---|--:|---|"
    )?;
    for figure in &summary.figures {
        let (label, name) = (figure.kind.label(), escape(&figure.scenario));
        let (n, value, interval) = (figure.counts(), figure.value(), figure.interval());
        let (sides, target) = (escape(&figure.sides()), figure.target());
        let verdict = attainment(figure.attainment);
        writeln!(
            out,
            "| {label} | {name} | {n} | {value} | {interval} | {sides} | {target} | {verdict} |"
        )?;
    }
    Ok(())
}

fn write_scenario(out: &mut String, record: &RunRecord, scenario: &ScenarioSummary) -> std::fmt::Result {
    writeln!(out, "\n## {}\n", escape(&units::title(&scenario.name)))?;
    if let Some(declared) = declared(record, &scenario.name) {
        writeln!(out, "{}\n", escape(declared.why.trim()))?;
    }
    for group in &scenario.groups {
        let Some(attribution) = &group.attribution else {
            continue;
        };
        write_phases(out, group.temperature.name(), attribution)?;
    }
    if let Some(usage) = record.usage.iter().find(|usage| usage.scenario == scenario.name) {
        writeln!(out, "| cache layer | bytes | inodes | entries |\n|---|--:|--:|--:|")?;
        for layer in usage.layers.iter().filter(|layer| holds_something(layer)) {
            let (bytes, inodes, entries) = (
                units::bytes(layer.bytes),
                units::count(layer.inodes),
                units::count(layer.entries),
            );
            writeln!(out, "| {} | {bytes} | {inodes} | {entries} |", escape(&layer.layer))?;
        }
    }
    Ok(())
}

fn write_phases(out: &mut String, temperature: &str, attribution: &Attribution) -> std::fmt::Result {
    let total = units::duration(as_f64(attribution.total_us));
    writeln!(
        out,
        "| {temperature}: phase | median run #{} | share | median of all |",
        attribution.sequence
    )?;
    writeln!(out, "|---|--:|--:|--:|")?;
    for row in &attribution.rows {
        let (bar, share, median) = (
            units::duration(as_f64(row.bar_us)),
            units::share(row.share),
            units::duration(row.median_us),
        );
        writeln!(out, "| {} | {bar} | {share} | {median} |", row.label())?;
    }
    writeln!(out, "| **total** | **{total}** | 100 % | |\n")?;
    if attribution.background_us > 0.0 {
        writeln!(
            out,
            "Publishing went on for {} after the answer.\n",
            units::duration(attribution.background_us)
        )?;
    }
    Ok(())
}

fn write_warnings(out: &mut String, record: &RunRecord, summary: &Summary) -> std::fmt::Result {
    if !summary.warnings.is_empty() {
        writeln!(out, "\n## Warnings\n")?;
    }
    for warning in &summary.warnings {
        let about = warning
            .about
            .as_ref()
            .map(|about| format!("**{}:** ", escape(about)))
            .unwrap_or_default();
        writeln!(
            out,
            "- {about}{}. *{}.*",
            escape(&warning.message),
            escape(&warning.remedy)
        )?;
    }
    let aside: Vec<_> = record
        .samples
        .iter()
        .filter_map(|sample| Some((sample, reason(&sample.acceptance)?)))
        .collect();
    if !aside.is_empty() {
        writeln!(
            out,
            "\n## Samples that do not count\n\n| # | scenario | temperature | why |\n|--:|---|---|---|"
        )?;
    }
    for (sample, (kind, reason)) in aside {
        let (name, temperature) = (escape(&sample.scenario), sample.temperature.name());
        writeln!(
            out,
            "| {} | {name} | {temperature} | {kind}: {} |",
            sample.sequence,
            escape(reason)
        )?;
    }
    Ok(())
}

/// Why a sample does not count, its kind first; `None` where it counts.
pub(crate) fn reason(acceptance: &Acceptance) -> Option<(&'static str, &str)> {
    match acceptance {
        Acceptance::Accepted => None,
        Acceptance::WrongTemperature { reason } => Some(("rejected", reason)),
        Acceptance::Failed { reason } => Some(("failed", reason)),
    }
}

pub(crate) fn write_provenance(out: &mut String, record: &RunRecord) -> std::fmt::Result {
    writeln!(out, "\n## Provenance\n\n| fact | value |\n|---|---|")?;
    for (fact, value) in crate::provenance::facts(record) {
        writeln!(out, "| {fact} | {} |", escape(&value))?;
    }
    for tool in &record.provenance.tools {
        let digest = tool
            .sha256
            .as_deref()
            .map(|sha| format!(", sha256 {sha}"))
            .unwrap_or_default();
        writeln!(
            out,
            "| {} | {} |",
            escape(&tool.name),
            escape(&format!("{} ({}{digest})", tool.version, tool.origin))
        )?;
    }
    for note in &record.provenance.notes {
        writeln!(out, "\n> {}", escape(note))?;
    }
    Ok(())
}

/// Text as Markdown that renders as just this text, inside a table cell as well.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
