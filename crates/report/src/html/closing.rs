//! What stands behind the figures: warnings, samples that do not count, the method, the provenance.

use hybrid_cache_model::sample::RunRecord;
use maud::{Markup, html};

use crate::compare::SAME_WITHIN;
use crate::samples::reason;
use crate::stats::{FULL_LEVEL_SAMPLES, MIN_SAMPLES, RESAMPLES, as_f64};
use crate::summary::Summary;
use crate::units;

/// Every warning with its remedy.
pub(super) fn warnings(summary: &Summary) -> Markup {
    html! {
        section id="warnings" aria-labelledby="warnings-heading" {
            h2 id="warnings-heading" { "Warnings" }
            @if summary.warnings.is_empty() { p { "None." } }
            ul class="warnings" {
                @for warning in &summary.warnings {
                    li {
                        @if let Some(about) = &warning.about { strong { (about) ": " } }
                        (warning.message) "."
                        div class="why" { "→ " (warning.remedy) }
                    }
                }
            }
        }
    }
}

/// Samples that were rejected or failed, each with its reason.
pub(super) fn aside(record: &RunRecord) -> Markup {
    let aside: Vec<_> = record
        .samples
        .iter()
        .filter_map(|sample| Some((sample, reason(&sample.acceptance)?)))
        .collect();
    html! {
        @if !aside.is_empty() {
            section id="aside" aria-labelledby="aside-heading" {
                h2 id="aside-heading" { "Samples that do not count" }
                div class="scroll" tabindex="0" role="region" aria-label="Samples that do not count" {
                    table {
                        thead { tr {
                            th scope="col" class="n" { "#" } th scope="col" { "Scenario" } th scope="col" { "Meant as" }
                            th scope="col" class="n" { "Wall time" } th scope="col" { "Verdict" } th scope="col" { "Reason" }
                        } }
                        tbody { @for (sample, (kind, reason)) in aside {
                            tr {
                                td class="n" { (sample.sequence) }
                                th scope="row" { (units::title(&sample.scenario)) }
                                td { (sample.temperature.name()) }
                                td class="n" { (units::duration(as_f64(sample.wall_us))) }
                                td { (kind) }
                                td class="text" { (reason) }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// How to read the report.
pub(super) fn method() -> Markup {
    let seconds = html! {
        dt { "Temperatures" }
        dd {
            strong { "first" } ": the caches are in use and empty; every first run gets a fresh epoch, an empty folder of the \
            same volume, so no cache in use is destroyed. " strong { "cached" } ": every cache answers with a hit. "
            strong { "uncached" } ": the caches are bypassed. A sample whose caches report anything else is rejected, shown and \
            not counted."
        }
        dt { "Order" }
        dd { "Scenarios and temperatures are interleaved, so that a slow minute of the machine does not fall on one of them alone." }
        dt { "Clocks" }
        dd {
            strong { "client-seen" } ": from submit to the end seen, as the client measured it. " strong { "inside" } ": from \
            start to exit of the runner that ran the task, in its sandbox or pod, by its own clock; what a first run prepares \
            in a sandbox of its own comes before that, what it waits for in a pod is part of it. Two clocks are never \
            subtracted; durations are nested."
        }
    };
    html! {
        section id="method" aria-labelledby="method-heading" {
            h2 id="method-heading" { "How to read this" }
            dl class="method" {
                (seconds)
                dt { "Medians and intervals" }
                dd {
                    "Latencies are skewed, so the median stands for a group. Its interval is a percentile bootstrap of "
                    (RESAMPLES) " resamplings with a fixed seed, 95 % from n = " (FULL_LEVEL_SAMPLES) " on. Below that it is the \
                    whole range of the samples, whose true level (75 % for n = 3) is given. p90 needs n ≥ 10 and p99 n ≥ 100, so \
                    that at least one sample lies beyond it."
                }
                dt { "Verdicts" }
                dd {
                    strong { "beaten" } ": the whole interval lies below the claimed range; " strong { "supported" } ": within it; "
                    strong { "refuted" } ": above it; " strong { "undecided" } ": across an end, or fewer than " (MIN_SAMPLES)
                    " samples. Comparisons of two runs call " (units::share(SAME_WITHIN)) " or less the same."
                }
                dt { "What we add" }
                dd {
                    "Each figure compares medians of the same run, both sides resampled independently, with a target. "
                    strong { "met" } ": the whole interval lies at or below it; " strong { "missed" } ": above it; "
                    strong { "undecided" } ": across it, or fewer than " (MIN_SAMPLES) " samples on a side."
                }
                dt { "Phase bars" }
                dd {
                    "A bar is the median run itself, not a mean: its parts add up to its wall time exactly. Where work overlaps, an \
                     instant counts for what the run was waiting for. Time that no span covers is "
                    em { "unattributed" } ", hatched, and a row of its own. \"Median of all\" is taken phase by phase and need not add up."
                }
            }
        }
    }
}

/// Where, when and with what the report was measured.
pub(super) fn provenance(record: &RunRecord) -> Markup {
    html! {
        section id="provenance" aria-labelledby="provenance-heading" {
            h2 id="provenance-heading" { "Provenance" }
            @for note in &record.provenance.notes { p class="note" { (note) } }
            dl class="facts" {
                @for (fact, value) in crate::provenance::facts(record) { div { dt { (fact) } dd { (value) } } }
            }
            @if !record.provenance.tools.is_empty() {
                div class="scroll" tabindex="0" role="region" aria-label="Tools" {
                    table {
                        thead { tr {
                            th scope="col" { "Tool" } th scope="col" { "Version" } th scope="col" { "Origin" } th scope="col" { "sha256" }
                        } }
                        tbody { @for tool in &record.provenance.tools {
                            tr {
                                th scope="row" { (tool.name) } td { (tool.version) } td { (tool.origin) }
                                td class="hash" { (tool.sha256.as_deref().unwrap_or("–")) }
                            }
                        } }
                    }
                }
            }
        }
    }
}
