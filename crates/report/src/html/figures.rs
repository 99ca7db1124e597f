//! The overhead: a panel for each kind of figure with each scenario's value, interval and target, and the table.

use hybrid_cache_web::{Tone, badge, scrolling};
use maud::{Markup, html};

use super::axis::{LinearAxis, grid, percent, ratio_label, tick_label};
use crate::cells::distribution;
use crate::figure::{Attainment, Figure, FigureKind, Unit};
use crate::kubelet::KUBELET;
use crate::summary::Summary;
use crate::units;

/// Height of a scenario's row, and within it: the text's baseline, the track's top and height. In pixels.
const ROW: f64 = 44.0;
const TEXT: f64 = 15.0;
const TRACK: f64 = 21.0;
const TRACK_HEIGHT: f64 = 16.0;
/// Room above the rows for the target's label.
const HEAD: f64 = 22.0;
/// Marks on an axis at most: a panel is half as wide as the page.
const TICKS: f64 = 5.0;

/// The section; empty if the run has no such figures.
pub(super) fn section(summary: &Summary) -> Markup {
    let panels = FigureKind::ALL.into_iter().map(|kind| {
        let own: Vec<&Figure> = summary.figures_of(kind).collect();
        (kind, own)
    });
    html! {
        @if !summary.figures.is_empty() {
            section id="added" aria-labelledby="added-heading" {
                h2 id="added-heading" { "Overhead" }
                p {
                    "What a run costs beyond the work itself. Each figure compares it with something measured side by side. A verdict \
                     is proven together with all others of this report."
                }
                div class="cards" {
                    @for (kind, figures) in panels.filter(|(_, figures)| !figures.is_empty()) { (panel(kind, &figures)) }
                }
                (table(summary))
                (kubelet(summary))
            }
        }
    }
}

fn panel(kind: FigureKind, figures: &[&Figure]) -> Markup {
    let unit = kind.unit();
    let ends = figures.iter().flat_map(|figure| {
        let interval = figure.estimate.interval.map(|interval| [interval.low, interval.high]);
        [figure.estimate.value]
            .into_iter()
            .chain(interval.into_iter().flatten())
    });
    // The target differs from the value of no overhead, so an axis always exists.
    let Some(axis) = LinearAxis::around(ends.chain([unit.no_overhead(), kind.target()])) else {
        return html! {};
    };
    let write = if unit == Unit::Ratio { ratio_label } else { tick_label };
    let bottom = HEAD + figures.len() as f64 * ROW;
    let id = format!(
        "added-{}",
        FigureKind::ALL.iter().position(|known| *known == kind).unwrap_or(0)
    );
    html! {
        div class="card" {
            h3 { (kind.label()) }
            p class="small" { (kind.explanation()) "." }
            figure {
                svg class="plot" width="100%" height=(bottom + 22.0) role="img" aria-labelledby=(format!("{id}-title {id}-desc")) {
                    title id=(format!("{id}-title")) { (kind.label()) ", target " (kind.written_target()) }
                    desc id=(format!("{id}-desc")) { @for figure in figures { (figure) ", " (figure.attainment.name()) ". " } }
                    (grid(&axis.ticks_written(TICKS, write), HEAD, bottom))
                    (target_label(kind, &axis))
                    @for (index, figure) in figures.iter().enumerate() { (row(figure, &axis, HEAD + index as f64 * ROW)) }
                }
            }
        }
    }
}

fn target_label(kind: FigureKind, axis: &LinearAxis) -> Markup {
    let at = axis.at(kind.target());
    let (anchor, dx) = if at < 0.5 { ("start", "-2") } else { ("end", "2") };
    html! {
        text class="target-label" x=(percent(at)) dx=(dx) y=(HEAD - 6.0) text-anchor=(anchor) { "target " (kind.written_target()) }
    }
}

/// Text, and a track below it so that no line crosses the text. The track is shaded up to the target, with a solid line at no
/// overhead and a dashed one at the target.
fn row(figure: &Figure, axis: &LinearAxis, top: f64) -> Markup {
    let class = tone(figure.attainment);
    let at = percent(axis.at(figure.estimate.value));
    let [none, target] = [figure.kind.unit().no_overhead(), figure.kind.target()].map(|value| percent(axis.at(value)));
    let track = (top + TRACK, top + TRACK + TRACK_HEIGHT);
    let middle = top + TRACK + TRACK_HEIGHT / 2.0;
    html! {
        rect class="track" x="0" width="100%" y=(track.0) height=(TRACK_HEIGHT) {}
        rect class="goal" x="0" width=(target) y=(track.0) height=(TRACK_HEIGHT) {}
        line class="nothing" x1=(none) x2=(none) y1=(track.0) y2=(track.1) {}
        g class="halo" {
            text x="0" y=(top + TEXT) { (units::title(&figure.scenario)) }
            text x="100%" y=(top + TEXT) text-anchor="end" {
                tspan class="strong" { (figure.value()) }
                tspan class=(format!("mark-word {class}")) dx="6" { (figure.attainment.mark()) }
            }
        }
        @if let Some(interval) = &figure.estimate.interval {
            @let (low, high) = (axis.at(interval.low), axis.at(interval.high));
            rect class=(format!("interval {class}"))
                x=(percent(low)) width=(percent((high - low).max(0.002))) y=(middle - 3.0) height="6" rx="1" {}
        }
        line class="target" x1=(target) x2=(target) y1=(track.0 - 3.0) y2=(track.1 + 3.0) {}
        svg class="mark" x=(at) y=(middle) overflow="visible" {
            circle class=(class) r="5" { title { (figure) ", " (figure.attainment.name()) } }
        }
    }
}

fn badge_tone(attainment: Attainment) -> Tone {
    match attainment {
        Attainment::Met => Tone::Good,
        Attainment::Missed => Tone::Bad,
        Attainment::Undecided => Tone::Open,
    }
}

fn tone(attainment: Attainment) -> &'static str {
    match attainment {
        Attainment::Met => "t-met",
        Attainment::Missed => "t-missed",
        Attainment::Undecided => "t-open",
    }
}

fn table(summary: &Summary) -> Markup {
    let measured = |kind: &FigureKind| summary.figures_of(*kind).next().is_some();
    html! {
        (scrolling("Overhead", &html! {
            table {
                thead { tr {
                    th scope="col" { "Scenario" } th scope="col" { "Verdict" }
                    th scope="col" class="n" { "Value" } th scope="col" class="n" { "Interval" }
                    th scope="col" class="n" { "Level" } th scope="col" class="n" { "n" }
                    th scope="col" class="n" { "Rounds" } th scope="col" class="n" { "Could show" }
                    th scope="col" { "Measured" }
                } }
                @for kind in FigureKind::ALL.into_iter().filter(measured) {
                    tbody {
                        tr class="kind" {
                            th scope="rowgroup" colspan="9" { (kind.label()) span class="muted" { ", target " (kind.written_target()) } }
                        }
                        @for figure in summary.figures_of(kind) { (table_row(figure)) }
                    }
                }
            }
        }))
    }
}

/// How much later a container's state shows an end than its log.
fn kubelet(summary: &Summary) -> Markup {
    html! {
        @if !summary.kubelet.is_empty() {
            p class="small" { (KUBELET) }
            (scrolling("The kubelet's delay", &html! {
                table {
                    thead { tr {
                        th scope="col" { "Scenario" } th scope="col" class="n" { "Kubelet's delay" }
                        th scope="col" class="n" { "Interval" } th scope="col" class="n" { "n" }
                    } }
                    tbody {
                        @for one in &summary.kubelet {
                            @let [median, interval, ..] = distribution(Some(&one.delay));
                            tr {
                                th scope="row" { (units::title(&one.scenario)) }
                                td class="n" { (median) } td class="n" { (interval) } td class="n" { (one.n) }
                            }
                        }
                    }
                }
            }))
        }
    }
}

fn table_row(figure: &Figure) -> Markup {
    let attainment = figure.attainment;
    let level = figure
        .estimate
        .interval
        .map_or("–".to_owned(), |interval| units::level(interval.level));
    html! {
        tr {
            th scope="row" { (units::title(&figure.scenario)) }
            td {
                (badge(badge_tone(attainment), attainment.mark(), attainment.name()))
                @if let Some(why) = figure.open_because() { div class="why" { (why) } }
            }
            td class="n" { (figure.value()) } td class="n" { (figure.interval()) } td class="n" { (level) }
            td class="n" { (figure.counts()) } td class="n" { (figure.rounds()) } td class="n" { (figure.could_show()) }
            td class="sides" { (figure.sides()) }
        }
    }
}
