//! The HTML report: one self-contained file, made for phones, paper, dark mode and screen readers.

mod alternatives;
pub(crate) mod axis;
mod bars;
mod closing;
mod figures;
mod layers;
mod levels;
mod load;
mod overview;
pub(crate) mod palette;
mod scenario;
mod strip;
mod waterfall;
mod zoom;

use hybrid_cache_model::sample::RunRecord;
use hybrid_cache_web::{Tone, badge, document, inline_style, notice, scrolling};
use maud::{Markup, html};

use crate::claim::Verdict;
use crate::headline::headline;
use crate::load::LoadSummary;
use crate::summary::Summary;
use crate::units;

/// Style of the figures, after the shared sheet.
pub(crate) const STYLE: &str = include_str!("style.css");

/// The whole report as a self-contained page: no script, no font, no image, no request.
pub fn html(record: &RunRecord) -> String {
    let (title, body) = match &record.load {
        Some(load) => (
            "the task service under load",
            load::body(record, &LoadSummary::from_record(load)),
        ),
        None if record.levels.is_some() => ("cold, in levels", levels::body(record)),
        None => ("first and cached latency", latency(record)),
    };
    let title = format!("hybrid-cache: {title}, {}", record.provenance.started_at);
    let body = html! {
                (patterns())
                (body)
                footer { p { "Computed from the samples in " code { "report.json" } ", in the same folder." } }
    };
    document(&title, &inline_style(&[STYLE]), "Skip to the figures", &body).into_string()
}

/// A run whose samples were taken one by one.
fn latency(record: &RunRecord) -> Markup {
    let summary = Summary::from_record(record);
    html! {
        (page_header(record, &summary))
        main id="main" {
            section id="glance" aria-labelledby="glance-heading" {
                h2 id="glance-heading" { "At a glance" }
                (overview::overview(&summary))
            }
            (claims(&summary, crate::claim::place(&record.provenance)))
            (figures::section(&summary))
            (alternatives::section(&summary))
            @for (index, scenario) in summary.scenarios.iter().enumerate() {
                (scenario::section(index, record, scenario))
            }
            (layers::section(record))
            (closing::warnings(&summary))
            (closing::aside(record))
            (closing::method())
            (closing::provenance(record))
        }
    }
}

/// Fill patterns that the figures share: hatching for unattributed time.
fn patterns() -> Markup {
    html! {
        svg class="defs" width="0" height="0" aria-hidden="true" {
            defs {
                pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect class="hatch-ground" width="6" height="6" {}
                    line class="hatch-line" x1="1" x2="1" y1="0" y2="6" {}
                }
            }
        }
    }
}

fn page_header(record: &RunRecord, summary: &Summary) -> Markup {
    let provenance = &record.provenance;
    let counted: usize = summary
        .scenarios
        .iter()
        .flat_map(|s| &s.groups)
        .map(|group| group.accepted)
        .sum();
    html! {
        header {
            p class="eyebrow" { "hybrid-cache · measurement report" }
            h1 { "First and cached latency" }
            p class="lede" {
                (summary.scenarios.len()) " scenarios, " (record.samples.len()) " samples, " (counted) " of which count, driver "
                code { (provenance.driver) } ", "
                @if let Some(cluster) = &provenance.cluster { "cluster " code { (cluster.context) } ", " }
                (crate::provenance::processors(provenance)) ", started "
                time { (provenance.started_at) } "."
                @if let Some(service) = crate::provenance::through_service(record) { " This was " (service) "." }
            }
            @if !summary.warnings.is_empty() {
                (notice(&html! {
                    a href="#warnings" {
                        (summary.warnings.len()) @if summary.warnings.len() == 1 { " warning" } @else { " warnings" }
                    }
                    " to read before you trust a figure."
                }))
            }
            ul class="headlines" {
                @for (index, scenario) in summary.scenarios.iter().enumerate() {
                    @let text = headline(scenario);
                    @let (name, rest) = text.split_once(": ").unwrap_or((&text, ""));
                    li { a href=(format!("#scenario-{index}")) { (name) } ": " (rest) }
                }
            }
        }
    }
}

fn claims(summary: &Summary, place: &str) -> Markup {
    html! {
        @if summary.claims().next().is_some() {
            section id="claims" aria-labelledby="claims-heading" {
                h2 id="claims-heading" { "Claims" }
                p { "The documented ranges and the measured medians. A verdict is proven together with all others of this report; “could show” is the smallest distance from the range that this run could have shown." }
                p { (place) }
                (scrolling("Claims and verdicts", &html! {
                    table {
                        thead { tr {
                            th scope="col" { "Scenario" } th scope="col" { "Run" } th scope="col" { "Verdict" }
                            th scope="col" class="n" { "Claimed" }
                            th scope="col" class="n" { "Median" } th scope="col" class="n" { "Interval" }
                            th scope="col" class="n" { "Level" } th scope="col" class="n" { "n" }
                            th scope="col" class="n" { "Rounds" } th scope="col" class="n" { "Could show" }
                        } }
                        tbody {
                            @for (scenario, group, result) in summary.claims() {
                                @let interval = group.wall.as_ref().and_then(|wall| wall.interval.as_ref());
                                tr {
                                    th scope="row" { (units::title(&scenario.name)) }
                                    td { (group.temperature.name()) }
                                    td {
                                        (verdict(result.verdict))
                                        // The columns explain the other verdicts.
                                        @if result.verdict == Verdict::Undecided { div class="why" { (result.reason) } }
                                    }
                                    td class="n" { (units::seconds_range(result.claim.min_s, result.claim.max_s)) }
                                    td class="n" { (group.wall.as_ref().map_or("–".to_owned(), |wall| units::duration(wall.median_us))) }
                                    td class="n" { (interval.map_or("–".to_owned(), units::interval)) }
                                    td class="n" { (interval.map_or("–".to_owned(), |interval| units::level(interval.level))) }
                                    td class="n" { (group.accepted) }
                                    td class="n" { (group.wall.as_ref().map_or(0, |wall| wall.rounds)) }
                                    td class="n" { (result.could_show()) }
                                }
                            }
                        }
                    }
                }))
            }
        }
    }
}

fn verdict(verdict: Verdict) -> Markup {
    let tone = match verdict {
        Verdict::Beaten | Verdict::Supported => Tone::Good,
        Verdict::Refuted => Tone::Bad,
        Verdict::Undecided => Tone::Open,
    };
    badge(tone, verdict.mark(), verdict.name())
}
