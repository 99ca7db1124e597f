//! A recommendation on a terminal.

use comfy_table::{CellAlignment, Table, presets};
use hybrid_cache_model::shown;
use hybrid_cache_sizing::recommend::{Alternative, Point};

use super::claim::claim_name;
use super::report::SizingReport;
use super::sentences;
use crate::units;

/// The report as plain text.
pub(super) fn terminal(report: &SizingReport) -> String {
    let found = &report.recommendation;
    let mut text = format!(
        "{}\n\n{}\n",
        sentences::origin(&report.origin, &report.recommendation),
        table(report)
    );
    for advice in &found.volumes {
        text.push_str(&format!(
            "\n{}: {}\n",
            advice.volume.name(),
            sentences::headline(found, advice)
        ));
        let parts = sentences::parts(found, advice)
            .into_iter()
            .map(|(what, size)| format!("{size} {what}"));
        let mut lines = vec![format!(
            "{} GiB = {}",
            advice.claim.gib,
            parts.collect::<Vec<_>>().join(" + ")
        )];
        lines.extend(sentences::unreachable(found, advice));
        lines.extend(sentences::certainty(advice));
        lines.push(sentences::less(advice));
        if !advice.held_up_by.is_empty() {
            let named: Vec<String> = advice.held_up_by.iter().map(sentences::holder).collect();
            lines.push(format!("these would then miss: {}", named.join(", ")));
        }
        lines.push(sentences::misses(advice));
        lines.extend(sentences::delayed(advice));
        lines.push(sentences::inodes(found, advice));
        lines.extend(sentences::growth(advice));
        lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text.push_str(&format!("\n{}\n", sentences::together(found)));
    report
        .sections()
        .iter()
        .for_each(|section| text.push_str(&section.terminal()));
    for warning in &report.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    // Labels come from the trace.
    shown(&text).into_owned() + "\n"
}

fn table(report: &SizingReport) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "claim",
        "size",
        "hit rate",
        "p95",
        "evictions/day",
        "next down",
        "next up",
    ]);
    for advice in &report.recommendation.volumes {
        let point = |at: &Point| format!("{}, {}", units::share(at.hit_rate), units::duration(at.waits.p95_us));
        let other = |other: &Option<Alternative>| {
            other.as_ref().map_or("–".to_owned(), |other| {
                format!("{} GiB: {}", other.gib, point(&other.at))
            })
        };
        table.add_row([
            claim_name(advice.volume).to_owned(),
            format!("{} GiB", advice.claim.gib),
            units::share(advice.on_claim.hit_rate),
            units::duration(advice.on_claim.waits.p95_us),
            sentences::a_day(advice.on_claim.evictions_per_day, 1),
            other(&advice.smaller),
            other(&advice.larger),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
