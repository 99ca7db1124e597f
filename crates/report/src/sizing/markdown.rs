//! A recommendation as Markdown, for the ticket that orders the volumes.

use super::claim::claim_name;
use super::report::SizingReport;
use super::sentences;
use crate::markdown::escape;
use crate::units;

/// The report as Markdown.
pub(super) fn markdown(report: &SizingReport) -> String {
    let found = &report.recommendation;
    let mut text = format!(
        "# Volume sizes\n\nFrom {}.\n\n",
        escape(&sentences::origin(&report.origin, &report.recommendation))
    );
    text.push_str("| claim | size | hit rate | p95 | next down | next up |\n|---|---:|---:|---:|---:|---:|\n");
    for advice in &found.volumes {
        let other = |other: &Option<hybrid_cache_sizing::recommend::Alternative>| match other {
            Some(other) => format!("{} GiB: {}", other.gib, units::share(other.at.hit_rate)),
            None => "–".to_owned(),
        };
        text.push_str(&format!(
            "| `{}` | **{} GiB** | {} | {} | {} | {} |\n",
            claim_name(advice.volume),
            advice.claim.gib,
            units::share(advice.on_claim.hit_rate),
            units::duration(advice.on_claim.waits.p95_us),
            other(&advice.smaller),
            other(&advice.larger)
        ));
    }
    for advice in &found.volumes {
        text.push_str(&format!(
            "\n## {}\n\n{}.\n\n",
            sentences::title(advice.volume),
            escape(&sentences::headline(found, advice))
        ));
        if let Some(why) = sentences::unreachable(found, advice) {
            text.push_str(&format!("**{}**\n\n", escape(&why)));
        }
        text.push_str("| part of the claim | size |\n|---|---:|\n");
        for (what, size) in sentences::parts(found, advice) {
            text.push_str(&format!("| {} | {size} |\n", escape(&what)));
        }
        text.push('\n');
        let sentences = sentences::certainty(advice).into_iter().chain([
            sentences::less(advice),
            sentences::misses(advice),
            sentences::inodes(found, advice),
        ]);
        for sentence in sentences
            .chain(sentences::delayed(advice))
            .chain(sentences::growth(advice))
        {
            text.push_str(&format!("- {}\n", escape(&sentence)));
        }
        if !advice.held_up_by.is_empty() {
            text.push_str("\nWith that much less, these would miss:\n\n");
            for holder in &advice.held_up_by {
                text.push_str(&format!("- {}\n", escape(&sentences::holder(holder))));
            }
        }
    }
    text.push_str(&format!("\n{}.\n", escape(&sentences::together(found))));
    report
        .sections()
        .iter()
        .for_each(|section| text.push_str(&section.markdown()));
    if !report.warnings.is_empty() {
        text.push_str("\n## Warnings\n\n");
        report
            .warnings
            .iter()
            .for_each(|warning| text.push_str(&format!("- {}\n", escape(warning))));
    }
    text
}
