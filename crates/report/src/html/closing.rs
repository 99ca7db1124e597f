//! The sections below the figures: warnings, samples that do not count, method and provenance.

use hybrid_cache_model::sample::RunRecord;
use hybrid_cache_web::{facts, scrolling};
use maud::{Markup, html};

use crate::compare::SAME_WITHIN;
use crate::samples::reason;
use crate::stats::{MIN_ROUNDS, as_f64};
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
                (scrolling("Samples that do not count", &html! {
                    table {
                        thead { tr {
                            th scope="col" class="n" { "#" } th scope="col" { "Scenario" } th scope="col" { "Intended as" }
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
                }))
            }
        }
    }
}

/// How to read the report.
pub(super) fn method() -> Markup {
    let seconds = html! {
        dt { "Temperatures" }
        dd {
            strong { "first" } ": the caches are enabled and empty. Each first run gets an empty folder of the same volume, so \
            that it destroys no cache in use. " strong { "cached" } ": every cache reports a hit. "
            strong { "uncached" } ": the caches are bypassed. A sample whose caches report anything else is rejected: the report \
            shows it and does not count it."
        }
        dt { "Order" }
        dd {
            "A round holds every scenario, in an order drawn at random; its seed is in the record. What is compared stands side by side \
            in one turn: a pair, whose order is drawn as well. So a slow minute of the machine affects both sides."
        }
        dt { "Clocks" }
        dd {
            strong { "end-to-end" } ": from submit to the end, by the client's clock. " strong { "runner" } ": from start to exit \
            of the runner that ran the task, in its sandbox or pod, by the runner's clock. On a machine, a first run prepares \
            before that, in a sandbox of its own; in a pod, waiting for the preparation is part of it. The report never \
            subtracts times of different clocks from each other; it nests durations."
        }
    };
    html! {
        section id="method" aria-labelledby="method-heading" {
            h2 id="method-heading" { "How to read this" }
            dl class="method" {
                (seconds)
                dt { "Medians and intervals" }
                dd {
                    "Latencies are skewed, so the median represents a group. Samples of one round resemble each other, so a round counts \
                    once, by its median. The interval is exact for any distribution: order statistics of these medians, at 95 % or a \
                    little more. Below " (MIN_ROUNDS) " rounds there is none. p90 needs n ≥ 10 and p99 n ≥ 100, so that at least one \
                    sample lies beyond it."
                }
                dt { "Verdicts" }
                dd {
                    strong { "beaten" } ": the median is proven to lie below the claimed range; " strong { "supported" } ": within it; "
                    strong { "refuted" } ": above it; " strong { "undecided" } ": none of these is proven. A verdict allows an error of \
                    2.5 % on its side over all tests of the run together (Holm), so an interval may lie on one side and not suffice. "
                    strong { "Could show" } " is the smallest distance from the limit that a run like this one shows in 8 of 10 cases."
                }
                dt { "Overhead" }
                dd {
                    "Ratios and differences are taken pair by pair, and the median of a round's pairs stands for the round. Value and \
                    interval are those of Hodges and Lehmann, and the test is Wilcoxon's signed-rank test, exact. "
                    strong { "met" } ": the value is proven to be at most the target; " strong { "missed" } ": above it; "
                    strong { "undecided" } ": neither."
                }
                dt { "Comparisons of two runs" }
                dd {
                    "Two runs are no pairs. A verdict compares how each run stood to a peer that was measured beside it; a difference of "
                    (units::share(SAME_WITHIN)) " or less is the same."
                }
                dt { "Phase bars" }
                dd {
                    "A bar shows the median run itself, not a mean, so its parts add up to its wall time. If work overlaps, each \
                     instant counts for the phase that the run was waiting for. Time that no span covers is "
                    em { "unattributed" } ": it is hatched and has a row of its own. \"Median of all\" is computed for each phase, so \
                    these values need not add up."
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
            (facts(crate::provenance::facts(record)))
            @if !record.provenance.tools.is_empty() {
                (scrolling("Tools", &html! {
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
                }))
            }
        }
    }
}
