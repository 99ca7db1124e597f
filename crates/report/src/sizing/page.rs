//! A recommendation as a page: the sizes to order, then the curves and the reasons.

use hybrid_cache_model::shown;
use hybrid_cache_sizing::recommend::{Advice, Alternative, Point};
use hybrid_cache_web::{Tone, badge, document, inline_style, notice, scrolling};
use maud::{Markup, html};

use super::claim::claim_name;
use super::plot::Plot;
use super::report::SizingReport;
use super::sentences;
use crate::html::STYLE;
use crate::units;

const OWN_STYLE: &str = include_str!("page.css");

/// The whole page: no script, no font, no image, no request.
pub(super) fn page(report: &SizingReport) -> String {
    let found = &report.recommendation;
    let body = html! {
                header {
                    p class="eyebrow" { "hybrid-cache · volume sizes" }
                    h1 { "How large must the volumes be?" }
                    p class="lede" { "From " (sentences::origin(&report.origin, &report.recommendation)) ". Target: " (target(report)) "." }
                    @if !report.warnings.is_empty() {
                        (notice(&html! {
                            a href="#warnings" { (report.warnings.len()) @if report.warnings.len() == 1 { " warning" } @else { " warnings" } }
                            " to read before you trust a size."
                        }))
                    }
                }
                main id="main" {
                    section aria-labelledby="order" {
                        h2 id="order" { "What to order" }
                        div class="orders" { @for advice in &found.volumes { (order(advice)) } }
                        p class="headline" { (sentences::together(found)) "." }
                        @for section in report.sections().iter().filter(|section| section.id == "proof") {
                            p { a href="#proof" { "Replayed on real file systems" } ": " (section.lead) "." }
                        }
                    }
                    @for advice in &found.volumes { (volume(report, advice)) }
                    @for section in report.sections() { (section.page()) }
                    (warnings(report))
                    (method())
                }
                footer { p { "Made by " code { "cargo xtask size" } "; the same report as JSON and Markdown is in the same folder." } }
    };
    let page = document(
        "hybrid-cache: volume sizes",
        &inline_style(&[STYLE, OWN_STYLE]),
        "Skip to the sizes",
        &body,
    );
    // Labels and warnings come from the trace, and control characters are none of HTML's.
    shown(&page.into_string()).into_owned()
}

fn target(report: &SizingReport) -> String {
    let targets = &report.recommendation.targets;
    let mut text = format!("{} of requests hit", units::share(targets.hit));
    if let Some(p95_us) = targets.p95_us {
        text.push_str(&format!(", 95 % of them wait at most {}", units::duration(p95_us)));
    }
    text
}

fn order(advice: &Advice) -> Markup {
    html! {
        div class="order" {
            p class="order-size" { (advice.claim.gib) " GiB" }
            p class="order-name" { code { (claim_name(advice.volume)) } }
            p {
                @if advice.is_reached { (badge(Tone::Good, "✓", "meets the target")) }
                @else { (badge(Tone::Bad, "✗", "no size meets the target")) }
            }
            p class="small" { (units::share(advice.on_claim.hit_rate)) " hit, p95 " (units::duration(advice.on_claim.waits.p95_us)) }
        }
    }
}

fn volume(report: &SizingReport, advice: &Advice) -> Markup {
    let found = &report.recommendation;
    let name = advice.volume.name();
    let hit = Plot {
        id: format!("{name}-hit"),
        title: "Hit rate by size",
        value: |point| point.hit_rate * 100.0,
        band: Some(|point| (point.hit_low * 100.0, point.hit_high * 100.0)),
        write: |value| format!("{:.1} %", value),
        target: Some(found.targets.hit * 100.0),
        from_zero: false,
    };
    let wait = Plot {
        id: format!("{name}-wait"),
        title: "Waiting, all tasks of a day",
        value: |point| point.wait_s_per_day.unwrap_or(0.0),
        band: None,
        write: |value| units::duration(value * 1e6),
        target: None,
        from_zero: true,
    };
    html! {
        section aria-labelledby=(name) {
            h2 id=(name) { (sentences::title(advice.volume)) }
            p class="headline" { (sentences::headline(found, advice)) "." }
            @if let Some(why) = sentences::unreachable(found, advice) { (notice(&html! { (why) })) }
            (hit.draw(advice))
            p class="small" {
                "Size of the environments, without the rest of the claim. Line: exact for every size; zone: 95 % interval over \
                 blocks of time; dashed: the target."
            }
            @if found.has_rates() { (wait.draw(advice)) }
            ul class="warnings" {
                @if let Some(sure) = sentences::certainty(advice) { li { (sure) "." } }
                li { (sentences::less(advice)) "." }
                li { (sentences::misses(advice)) "." }
                @if let Some(delayed) = sentences::delayed(advice) { li { (delayed) "." } }
                li { (sentences::inodes(found, advice)) "." }
                @if let Some(growth) = sentences::growth(advice) { li { (growth) "." } }
            }
            div class="cards" {
                div class="card" { (claim(report, advice)) }
                div class="card" { (holders(advice)) }
            }
            (sizes(advice))
        }
    }
}

fn claim(report: &SizingReport, advice: &Advice) -> Markup {
    html! {
        h3 { "What the claim consists of" }
        table {
            tbody {
                @for (what, size) in sentences::parts(&report.recommendation, advice) {
                    tr { th scope="row" { (what) } td class="n" { (size) } }
                }
            }
            tfoot { tr { th scope="row" { "claim" } td class="n" { (advice.claim.gib) " GiB" } } }
        }
    }
}

fn holders(advice: &Advice) -> Markup {
    html! {
        h3 { "What keeps it from being smaller" }
        @if advice.held_up_by.is_empty() {
            p { "The largest environment takes " (units::bytes(advice.largest.bytes)) "." }
        } @else {
            p class="small" { "Environments whose requests would miss with so much less." }
            table {
                thead { tr { th scope="col" { "Environment" } th scope="col" class="n" { "Requests a day" } th scope="col" class="n" { "Size" } } }
                tbody {
                    @for holder in &advice.held_up_by {
                        tr {
                            th scope="row" class="holder" { (holder.name) }
                            td class="n" { (sentences::a_day(holder.requests_per_day, 2)) }
                            td class="n" { (units::bytes(holder.weight.bytes)) }
                        }
                    }
                }
            }
        }
    }
}

fn sizes(advice: &Advice) -> Markup {
    let row = |gib: u64, at: &Point, note: &str| {
        html! {
            tr {
                th scope="row" { (gib) " GiB" @if !note.is_empty() { " " span class="muted" { (note) } } }
                td class="n" { (units::share(at.hit_rate)) }
                td class="n" { (units::share(at.byte_hit_rate)) }
                td class="n" { (units::duration(at.waits.p50_us)) }
                td class="n" { (units::duration(at.waits.p95_us)) }
                td class="n" { (units::duration(at.waits.p99_us)) }
                td class="n" { (at.wait_s_per_day.map_or("–".to_owned(), |wait_s| units::duration(wait_s * 1e6))) }
                td class="n" { (sentences::a_day(at.evictions_per_day, 1)) }
            }
        }
    };
    let other = |other: &Option<Alternative>, note: &str| match other {
        Some(other) => row(other.gib, &other.at, note),
        None => html! {},
    };
    html! {
        h3 { "The next size down and up" }
        (scrolling("Sizes side by side", &html! {
            table {
                thead { tr {
                    th scope="col" { "Claim" } th scope="col" class="n" { "Hit rate" } th scope="col" class="n" { "By bytes" }
                    th scope="col" class="n" { "p50" } th scope="col" class="n" { "p95" } th scope="col" class="n" { "p99" }
                    th scope="col" class="n" { "Waiting a day" } th scope="col" class="n" { "Evictions a day" }
                } }
                tbody {
                    (other(&advice.smaller, ""))
                    (row(advice.claim.gib, &advice.on_claim, "recommended"))
                    (other(&advice.larger, ""))
                }
            }
        }))
    }
}

fn warnings(report: &SizingReport) -> Markup {
    html! {
        @if !report.warnings.is_empty() {
            section id="warnings" aria-labelledby="warnings-heading" {
                h2 id="warnings-heading" { "Warnings" }
                ul class="warnings" { @for warning in &report.warnings { li { (warning) } } }
            }
        }
    }
}

fn method() -> Markup {
    html! {
        section aria-labelledby="method" {
            h2 id="method" { "Method" }
            dl class="method" {
                dt { "Distance" }
                dd { "hybrid-cache evicts whole environments, least recently used first, and stores shared parts once. A request \
                      hits at a size exactly if everything used since its environment was last used fits into it. One pass over \
                      the trace gives that distance for each request, and so the hit rate of every size." }
                dt { "Waiting" }
                dd { "A hit waits as long as the trace's hits did. A miss also waits for what is missing at that size, by a line fitted to \
                      the trace's measured preparations with their scatter." }
                dt { "Claim" }
                dd { "The claim holds the environments, what is being built at the same time, headroom, and what the file system reserves \
                      for itself. hybrid-cache uses 88 % of the claim's room by default; that is enough for the environments." }
                dt { "Intervals" }
                dd { "Bootstrap over blocks of time (days, if there are at least eight), with a thousand resamplings." }
            }
            p { "docs/sizing.md describes the limits of this method." }
        }
    }
}
