//! A run whose samples were taken one by one, as Markdown.

use std::fmt::Write;

use hybrid_cache_model::sample::RunRecord;

use super::alternatives;
use super::escape::escape;
use super::provenance::write_provenance;
use crate::cells::{attainment, claim, counted, distribution, ratio};
use crate::claim::{ClaimResult, place};
use crate::figure::FigureKind;
use crate::headline::headline;
use crate::host_noise;
use crate::kubelet::KUBELET;
use crate::phases::Attribution;
use crate::samples::{declared, reason};
use crate::stats::as_f64;
use crate::summary::{ScenarioSummary, Summary, holds_something};
use crate::{units, until};

/// Appends the whole report.
pub(super) fn write_report(out: &mut String, record: &RunRecord, summary: &Summary) -> std::fmt::Result {
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
    if let Some(noise) = host_noise::line(record) {
        writeln!(out, "\nHost noise: {noise}.")?;
    }
    if let Some(until) = &record.until {
        writeln!(out, "\nUntil {}.", escape(&until::line(until)))?;
    }
    write_latency(out, record, summary)?;
    write_figures(out, summary)?;
    write_kubelet(out, summary)?;
    alternatives::write_alternatives(out, summary)?;
    for scenario in &summary.scenarios {
        write_scenario(out, record, scenario)?;
    }
    write_warnings(out, record, summary)?;
    write_provenance(out, record)
}

fn write_latency(out: &mut String, record: &RunRecord, summary: &Summary) -> std::fmt::Result {
    writeln!(
        out,
        "\n## Latency\n\n*End-to-end* is the time from submit to the end, by the client's clock. *Runner* is the time from start to \
         exit of the runner that ran the task, in its sandbox or pod, by the runner's clock. \
         A round counts once in an interval. *Could show* is the smallest distance from a limit that this run shows in 8 of 10 cases.\n"
    )?;
    if summary.claims().next().is_some() {
        writeln!(out, "{}\n", place(&record.provenance))?;
    }
    writeln!(
        out,
        "| scenario | temperature | n | rounds | end-to-end: median | interval | p90 | min–max | runner: median | interval | claim | could show | first/cached |"
    )?;
    writeln!(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|")?;
    for scenario in &summary.scenarios {
        for (index, group) in scenario.groups.iter().enumerate() {
            let [median, interval, p90, range] = distribution(group.wall.as_ref());
            let effect = group.claim.as_ref().map(ClaimResult::could_show).unwrap_or_default();
            let claim = group.claim.as_ref().map(claim).unwrap_or_default();
            let rounds = group.wall.as_ref().map_or(0, |wall| wall.rounds);
            let last = index + 1 == scenario.groups.len();
            let ratio = scenario.ratio.as_ref().filter(|_| last).map(ratio).unwrap_or_default();
            let name = escape(&scenario.name);
            let (temperature, n) = (group.temperature.name(), counted(group));
            let [runner, runner_interval, ..] = distribution(group.runner.as_ref());
            writeln!(
                out,
                "| {name} | {temperature} | {n} | {rounds} | {median} | {interval} | {p90} | {range} | {runner} | {runner_interval} | {claim} | {effect} | {ratio} |"
            )?;
        }
    }
    Ok(())
}

fn write_figures(out: &mut String, summary: &Summary) -> std::fmt::Result {
    if summary.figures.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## Overhead\n")?;
    let measured = |kind: &FigureKind| summary.figures_of(*kind).next().is_some();
    for kind in FigureKind::ALL.into_iter().filter(measured) {
        writeln!(out, "- **{}**: {}.", kind.label(), kind.explanation())?;
    }
    writeln!(
        out,
        "\n| figure | scenario | n | rounds | value | interval | measured | target | verdict | could show |\n|---|---|--:|--:|--:|--:|---|--:|---|--:|"
    )?;
    for figure in &summary.figures {
        let (label, name) = (figure.kind.label(), escape(&figure.scenario));
        let (n, value, interval) = (figure.counts(), figure.value(), figure.interval());
        let (sides, target) = (escape(&figure.sides()), figure.target());
        let verdict = attainment(figure.attainment);
        let (rounds, effect) = (figure.rounds(), figure.could_show());
        writeln!(
            out,
            "| {label} | {name} | {n} | {rounds} | {value} | {interval} | {sides} | {target} | {verdict} | {effect} |"
        )?;
    }
    Ok(())
}

fn write_kubelet(out: &mut String, summary: &Summary) -> std::fmt::Result {
    if summary.kubelet.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{KUBELET}\n")?;
    writeln!(
        out,
        "| scenario | n | kubelet's delay: median | interval |\n|---|--:|--:|--:|"
    )?;
    for one in &summary.kubelet {
        let [median, interval, ..] = distribution(Some(&one.delay));
        writeln!(out, "| {} | {} | {median} | {interval} |", escape(&one.scenario), one.n)?;
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
            "Publishing continued for {} after the answer.\n",
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
