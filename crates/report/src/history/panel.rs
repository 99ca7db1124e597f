//! The drawing of one series: its quotients to the peer and its times, each with intervals, and marks where it changed.

use maud::{Markup, html};

use super::changes::ChangePoint;
use super::overview::History;
use super::series::{Basis, Point, Series};
use crate::compare::SAME_WITHIN;
use crate::html::axis::{LinearAxis, percent, ratio_label, tick_label};
use crate::html::palette::temperature_class;
use crate::stats::Interval;
use crate::units;

/// Height of a panel, of its title within it, and the room below the last one, in pixels.
const PANEL: f64 = 132.0;
const TITLE: f64 = 22.0;
const GAP: f64 = 18.0;
const FOOT: f64 = 20.0;
/// Units of a panel's own drawing, which is stretched to the available width.
const WIDE: f64 = 1000.0;
const HIGH: f64 = 100.0;
/// Where the first and the last run stand, in shares of the width: the labels of the axis stand before the first.
const FIRST: f64 = 0.13;
const LAST: f64 = 0.985;
/// Runs up to which each has a mark of its own.
const MOST_MARKS: usize = 150;
/// Labels of changes up to which each has its own; more would cover each other.
const MOST_LABELS: usize = 4;

/// A value of a run with its interval, in microseconds or as a quotient.
struct Mark<'a> {
    at: f64,
    value: f64,
    interval: Option<Interval>,
    point: &'a Point,
}

struct Panel<'a> {
    name: String,
    basis: Basis,
    marks: Vec<Mark<'a>>,
    write: fn(f64) -> String,
}

/// The class of a change by its size: what is within a few percent is neither good nor bad.
pub(super) fn tone(change: &ChangePoint) -> &'static str {
    match change.ratio.value {
        value if value > 1.0 + SAME_WITHIN => "t-missed",
        value if value < 1.0 - SAME_WITHIN => "t-met",
        _ => "t-open",
    }
}

/// The figure of a series; `id` is unique on the page.
pub(super) fn figure(history: &History, series: &Series, id: &str) -> Markup {
    let panels = panels(series);
    let height = panels.len() as f64 * PANEL + FOOT;
    let label = |at: usize| history.runs[at].started_at.chars().take(10).collect::<String>();
    let ends = series.points.first().zip(series.points.last());
    html! {
        figure {
            svg class="plot" width="100%" height=(height) role="img" aria-labelledby=(format!("{id}-title {id}-desc")) {
                title id=(format!("{id}-title")) { (series.title()) " over " (series.points.len()) " runs" }
                desc id=(format!("{id}-desc")) {
                    @if series.changes.is_empty() { "No change is proven. " }
                    @for change in &series.changes { (history.sentence(series, change)) ". " }
                }
                @for (nth, panel) in panels.iter().enumerate() {
                    (panel.draw(history, series, nth as f64 * PANEL))
                }
                g class="grid" aria-hidden="true" {
                    @if let Some((first, last)) = ends {
                        text x=(percent(FIRST)) y=(height - 4.0) text-anchor="start" { (label(first.run)) }
                        @if last.run != first.run { text x="100%" y=(height - 4.0) text-anchor="end" { (label(last.run)) } }
                    }
                }
            }
        }
    }
}

/// Where the nth of so many runs stands.
fn across(nth: usize, of: usize) -> f64 {
    FIRST + (LAST - FIRST) * (nth as f64 + 0.5) / of.max(1) as f64
}

fn panels(series: &Series) -> Vec<Panel<'_>> {
    let of = series.points.len();
    let placed = || {
        series
            .points
            .iter()
            .enumerate()
            .map(move |(nth, point)| (across(nth, of), point))
    };
    let quotients: Vec<Mark<'_>> = placed()
        .filter_map(|(at, point)| {
            let estimate = point.to_peer.as_ref()?;
            Some(Mark {
                at,
                value: estimate.value,
                interval: estimate.interval,
                point,
            })
        })
        .collect();
    let times = placed().map(|(at, point)| Mark {
        at,
        value: point.median_us,
        interval: point.interval,
        point,
    });
    let mut panels = Vec::new();
    if let Some(peer) = series.peer.filter(|_| !quotients.is_empty()) {
        panels.push(Panel {
            name: format!("divided by {}", peer.short_name()),
            basis: Basis::ToPeer,
            marks: quotients,
            write: ratio_label,
        });
    }
    panels.push(Panel {
        name: "median time".to_owned(),
        basis: Basis::Time,
        marks: times.collect(),
        write: tick_label,
    });
    panels
}

impl Panel<'_> {
    fn axis(&self) -> LinearAxis {
        let ends = self.marks.iter().flat_map(|mark| {
            let interval = mark.interval.map(|interval| [interval.low, interval.high]);
            [mark.value].into_iter().chain(interval.into_iter().flatten())
        });
        let ends: Vec<f64> = ends.collect();
        // Equal values stand in the middle of a tenth on each side.
        let spread = ends.first().map_or(0.0, |value| value.abs() * 0.05).max(1e-9);
        let [low, high] = [f64::min, f64::max].map(|of| ends.iter().copied().reduce(of).unwrap_or(0.0));
        let around = if high - low < spread {
            vec![low - spread, high + spread]
        } else {
            ends
        };
        LinearAxis::around(around.into_iter()).unwrap_or_else(|| LinearAxis::to(1.0))
    }

    fn draw(&self, history: &History, series: &Series, top: f64) -> Markup {
        let axis = self.axis();
        let (from, high) = (top + TITLE, PANEL - TITLE - GAP);
        let y = |value: f64| from + high * (1.0 - axis.at(value));
        let class = temperature_class(series.temperature);
        html! {
            g class="grid" aria-hidden="true" {
                @for tick in axis.ticks_written(5.0, self.write) {
                    @let at = from + high * (1.0 - tick.share());
                    line class="major" x1=(percent(FIRST)) x2="100%" y1=(at) y2=(at) {}
                    @if let Some(text) = tick.text() { text x="0" y=(at + 4.0) { (text) } }
                }
            }
            g class="halo" { text class="muted" x=(percent(FIRST)) y=(top + 13.0) { (self.name) } }
            svg x="0" y=(from) width="100%" height=(high) viewBox=(format!("0 0 {WIDE} {HIGH}"))
                preserveAspectRatio="none" overflow="visible" {
                path class=(format!("whisker {class}")) d=(self.whiskers(&axis)) {}
                polyline class=(format!("trend {class}")) points=(self.line(&axis)) {}
            }
            @if self.marks.len() <= MOST_MARKS {
                @for mark in &self.marks {
                    circle class=(format!("point {class}")) cx=(percent(mark.at)) cy=(format!("{:.1}", y(mark.value))) r="3" {
                        title { (self.tip(history, mark)) }
                    }
                }
            }
            @if self.basis == series.basis {
                @for change in &series.changes { (self.change(series, change, (top, from + high))) }
            }
        }
    }

    /// Each interval as an upright stroke.
    fn whiskers(&self, axis: &LinearAxis) -> String {
        let of = |mark: &Mark<'_>| {
            let interval = mark.interval?;
            let [low, high] = [interval.low, interval.high].map(|value| HIGH * (1.0 - axis.at(value)));
            Some(format!("M{:.1} {low:.2}V{high:.2}", mark.at * WIDE))
        };
        self.marks.iter().filter_map(of).collect()
    }

    fn line(&self, axis: &LinearAxis) -> String {
        let place = |mark: &Mark<'_>| format!("{:.1},{:.2}", mark.at * WIDE, HIGH * (1.0 - axis.at(mark.value)));
        self.marks.iter().map(place).collect::<Vec<_>>().join(" ")
    }

    fn change(&self, series: &Series, change: &ChangePoint, (top, bottom): (f64, f64)) -> Markup {
        let of_run = |run: usize| self.marks.iter().find(|mark| mark.point.run == run).map(|mark| mark.at);
        let Some((before, after)) = of_run(change.before).zip(of_run(change.after)) else {
            return html! {};
        };
        let at = f64::midpoint(before, after);
        let (anchor, dx) = if at < 0.6 { ("start", "5") } else { ("end", "-5") };
        html! {
            line class=(format!("change {}", tone(change))) x1=(percent(at)) x2=(percent(at)) y1=(top + 18.0) y2=(bottom) {}
            @if series.changes.len() <= MOST_LABELS {
                g class="halo" {
                    text class=(format!("mark-word {}", tone(change))) x=(percent(at)) dx=(dx) y=(top + 28.0) text-anchor=(anchor) {
                        (units::ratio(change.ratio.value))
                    }
                }
            }
        }
    }

    fn tip(&self, history: &History, mark: &Mark<'_>) -> String {
        let run = &history.runs[mark.point.run];
        let value = match self.basis {
            Basis::ToPeer => units::ratio(mark.value),
            Basis::Time => units::duration(mark.value),
        };
        format!("{value}, n = {}, {} at {}", mark.point.n, run.folder, run.started_at)
    }
}
