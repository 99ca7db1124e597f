//! What people would use instead: a picture of ratios for each scenario, the table, and what was not measured.

use hybrid_cache_web::scrolling;
use maud::{Markup, html};

use super::axis::{LogAxis, grid, percent, ratio_label};
use crate::alternatives::{PeerRatio, heading, name};
use crate::summary::Summary;
use crate::units;

/// Height of a peer's row, and within it: the text's baseline, the track's top and height. In pixels.
const ROW: f64 = 42.0;
const TEXT: f64 = 15.0;
const TRACK: f64 = 21.0;
const TRACK_HEIGHT: f64 = 14.0;
/// Room above the rows for the label of 1×.
const HEAD: f64 = 22.0;

/// The section; empty if the run was not asked for it.
pub(super) fn section(summary: &Summary) -> Markup {
    let scenarios = || summary.scenarios.iter().enumerate();
    let own = |name: &str| -> Vec<&PeerRatio> {
        let all = summary.alternatives.iter();
        all.filter(|ratio| ratio.scenario == name).collect()
    };
    html! {
        @if !summary.alternatives.is_empty() || !summary.missing_peers.is_empty() {
            section id="instead" aria-labelledby="instead-heading" {
                h2 id="instead-heading" { (heading(&summary.alternatives)) }
                @if !summary.alternatives.is_empty() { p {
                    "End-to-end time of a cached run, divided by that of something else that runs the same program with the same versions \
                     on filled caches. Below 1× the cached run takes less time. Each interval stands for itself, at about 95 %."
                } }
                div class="cards" {
                    @for (index, scenario) in scenarios() {
                        @let ratios = own(&scenario.name);
                        @if !ratios.is_empty() { (panel(index, &scenario.name, &ratios)) }
                    }
                }
                @if !summary.alternatives.is_empty() { (table(summary)) }
                @if !summary.missing_peers.is_empty() {
                    ul class="warnings" {
                        @for missing in &summary.missing_peers {
                            li { strong { (name(missing.peer)) } " (" (missing.scenarios.join(", ")) "): " (missing.reason) "." }
                        }
                    }
                }
            }
        }
    }
}

fn panel(index: usize, scenario: &str, ratios: &[&PeerRatio]) -> Markup {
    let ends = ratios.iter().flat_map(|one| {
        let interval = one.ratio.interval.map(|interval| [interval.low, interval.high]);
        std::iter::once(one.ratio.value).chain(interval.into_iter().flatten())
    });
    let Some(axis) = LogAxis::around(ends.chain([1.0])) else {
        return html! {};
    };
    let bottom = HEAD + ratios.len() as f64 * ROW;
    let id = format!("instead-{index}");
    let one = axis.at(1.0);
    let (anchor, dx) = if one < 0.5 { ("start", "4") } else { ("end", "-4") };
    html! {
        div class="card" {
            h3 { (units::title(scenario)) }
            figure {
                svg class="plot" width="100%" height=(bottom + 22.0) role="img" aria-labelledby=(format!("{id}-title {id}-desc")) {
                    title id=(format!("{id}-title")) { (scenario) ": cached run divided by what people would use instead" }
                    desc id=(format!("{id}-desc")) { @for one in ratios { (described(one)) ". " } }
                    (grid(&axis.ticks_written(ratio_label), HEAD, bottom))
                    text class="target-label" x=(percent(one)) dx=(dx) y=(HEAD - 6.0) text-anchor=(anchor) { "1×: the same time" }
                    @for (index, ratio) in ratios.iter().enumerate() { (row(ratio, &axis, HEAD + index as f64 * ROW)) }
                }
            }
        }
    }
}

fn described(one: &PeerRatio) -> String {
    format!("{}: {} ({})", name(one.peer), one.value(), one.interval())
}

/// Text, and a track below it so that no line crosses the text.
fn row(one: &PeerRatio, axis: &LogAxis, top: f64) -> Markup {
    let same = percent(axis.at(1.0));
    let track = (top + TRACK, top + TRACK + TRACK_HEIGHT);
    let middle = top + TRACK + TRACK_HEIGHT / 2.0;
    html! {
        rect class="track" x="0" width="100%" y=(track.0) height=(TRACK_HEIGHT) {}
        line class="nothing" x1=(same) x2=(same) y1=(track.0 - 3.0) y2=(track.1 + 3.0) {}
        g class="halo" {
            text x="0" y=(top + TEXT) { (name(one.peer)) }
            text x="100%" y=(top + TEXT) text-anchor="end" {
                tspan class="strong" { (one.value()) }
                tspan class="muted" dx="6" { (one.interval()) }
            }
        }
        @if let Some(interval) = &one.ratio.interval {
            @let (low, high) = (axis.at(interval.low), axis.at(interval.high));
            rect class="interval t-cached" x=(percent(low)) width=(percent((high - low).max(0.002))) y=(middle - 3.0) height="6" rx="1" {}
        }
        svg class="mark" x=(percent(axis.at(one.ratio.value))) y=(middle) overflow="visible" {
            circle class="t-cached" r="5" { title { (described(one)) } }
        }
    }
}

fn table(summary: &Summary) -> Markup {
    html! {
        (scrolling("What people would use instead", &html! {
            table {
                thead { tr {
                    th scope="col" { "Scenario" } th scope="col" { "Instead" }
                    th scope="col" class="n" { "Ratio" } th scope="col" class="n" { "Interval" } th scope="col" class="n" { "Level" }
                    th scope="col" class="n" { "Pairs" } th scope="col" class="n" { "Rounds" }
                    th scope="col" class="n" { "Cached run" } th scope="col" class="n" { "Instead" }
                } }
                tbody {
                    @for one in &summary.alternatives {
                        @let level = one.ratio.interval.map_or("–".to_owned(), |interval| units::level(interval.level));
                        tr {
                            th scope="row" { (units::title(&one.scenario)) }
                            td { (name(one.peer)) }
                            td class="n" { (one.value()) } td class="n" { (one.interval()) } td class="n" { (level) }
                            td class="n" { (one.pairs) } td class="n" { (one.ratio.rounds) }
                            td class="n" { (units::duration(one.ours_us)) } td class="n" { (units::duration(one.theirs_us)) }
                        }
                    }
                }
            }
        }))
    }
}
