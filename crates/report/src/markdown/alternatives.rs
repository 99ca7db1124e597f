//! What people would use instead, as Markdown.

use std::fmt::Write;

use super::escape::escape;
use crate::alternatives::{heading, name};
use crate::summary::Summary;
use crate::units;

/// Appends the section; nothing if the run was not asked for it.
pub(super) fn write_alternatives(out: &mut String, summary: &Summary) -> std::fmt::Result {
    if summary.alternatives.is_empty() && summary.missing_peers.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## {}\n", heading(&summary.alternatives))?;
    if !summary.alternatives.is_empty() {
        writeln!(
            out,
            "End-to-end time of a cached run, divided by that of something else that runs the same program with the same versions on \
             filled caches. Below 1× the cached run takes less time. Each interval stands for itself, at about 95 %.\n"
        )?;
        writeln!(
            out,
            "| scenario | instead | pairs | rounds | cached run | instead takes | ratio | interval |\n|---|---|--:|--:|--:|--:|--:|--:|"
        )?;
    }
    for one in &summary.alternatives {
        let (scenario, peer, interval) = (escape(&one.scenario), name(one.peer), one.interval());
        let [ours, theirs] = [one.ours_us, one.theirs_us].map(units::duration);
        let (pairs, rounds, ratio) = (one.pairs, one.ratio.rounds, one.value());
        writeln!(
            out,
            "| {scenario} | {peer} | {pairs} | {rounds} | {ours} | {theirs} | {ratio} | {interval} |"
        )?;
    }
    if !summary.missing_peers.is_empty() && !summary.alternatives.is_empty() {
        writeln!(out)?;
    }
    for missing in &summary.missing_peers {
        let scenarios = escape(&missing.scenarios.join(", "));
        writeln!(
            out,
            "- **{}** ({scenarios}): {}.",
            name(missing.peer),
            escape(&missing.reason)
        )?;
    }
    Ok(())
}
