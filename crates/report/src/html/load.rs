//! The page of a run under load: what became of the arrivals, latencies, and rows over time.

use hybrid_cache_model::load::LoadRow;
use hybrid_cache_model::sample::RunRecord;
use hybrid_cache_web::scrolling;
use maud::{Markup, html};

use super::axis::{LinearAxis, grid};
use super::closing;
use crate::load::rows::{OVER_TIME, cells, few_rows, gauge, gauges};
use crate::load::{CLOCKS, LoadSummary, rate};
use crate::stats::as_f64;
use crate::units;

/// Height of a panel, of its title within it, and the room below the last one, in pixels.
const PANEL: f64 = 92.0;
const TITLE: f64 = 24.0;
const GAP: f64 = 14.0;
/// Units of a panel's own drawing, which is stretched to the available width.
const WIDE: f64 = 1000.0;
const HIGH: f64 = 100.0;
/// Rows of the table over time.
const ROWS: usize = 30;

/// What stands in the page's body.
pub(super) fn body(record: &RunRecord, load: &LoadSummary<'_>) -> Markup {
    html! {
        (header(record, load))
        main id="main" {
            section id="times" aria-labelledby="times-heading" {
                h2 id="times-heading" { "How long tasks took" }
                (times(load))
                p class="small" { (CLOCKS) }
            }
            section id="over-time" aria-labelledby="over-time-heading" {
                h2 id="over-time-heading" { "Over time" }
                (panels(load))
                details { summary { "The same as a table" } (rows(load)) }
            }
            section id="outcomes" aria-labelledby="outcomes-heading" {
                h2 id="outcomes-heading" { "What became of the tasks" }
                p { (load.accounted()) "." }
                (outcomes(load))
                @if !load.record.reasons.is_empty() {
                    h3 { "Why tasks failed or were not taken" }
                    ul class="warnings" { @for reason in &load.record.reasons { li { (reason) } } }
                }
            }
            section id="room" aria-labelledby="room-heading" {
                h2 id="room-heading" { "Memory and disk of the service" }
                dl class="facts" {
                    @for (name, slope, peak) in gauges(load) { div { dt { (name) } dd { (gauge(slope, peak)) } } }
                    div { dt { "memory read" } dd { (load.memory_source()) } }
                    @if let Some(limit) = load.record.service.disk_limit_bytes {
                        div { dt { "disk allowed" } dd { (units::bytes(limit)) } }
                    }
                }
                p class="small" {
                    "A slope is least squares over the second half of the arrivals; its 95 % interval allows for neighbours that \
                     resemble each other. It is called flat if the interval contains 0."
                }
            }
            (closing::provenance(record))
        }
    }
}

fn header(record: &RunRecord, load: &LoadSummary<'_>) -> Markup {
    let provenance = &record.provenance;
    html! {
        header {
            p class="eyebrow" { "hybrid-cache · load report" }
            h1 { "The task service under load" }
            p class="lede" {
                (load.record.counts.due) " tasks of " (record.scenarios.len())
                @if record.scenarios.len() == 1 { " scenario" } @else { " scenarios" } ", "
                (crate::provenance::processors(provenance)) ", started " time { (provenance.started_at) } "."
                @if let Some(service) = crate::provenance::through_service(record) { " This was " (service) "." }
            }
            ul class="headlines" { li { (load.headline()) } }
        }
    }
}

fn times(load: &LoadSummary<'_>) -> Markup {
    html! {
        (scrolling("How long tasks took", &html! {
            table {
                thead { tr {
                    th scope="col" { "Time" }
                    @for name in LoadSummary::durations_head() { th scope="col" class="n" { (name) } }
                } }
                tbody { @for line in load.durations() {
                    tr { th scope="row" { (line.name) } @for cell in &line.cells { td class="n" { (cell) } } }
                } }
            }
        }))
    }
}

fn outcomes(load: &LoadSummary<'_>) -> Markup {
    html! {
        (scrolling("What became of the tasks", &html! {
            table {
                thead { tr { th scope="col" { "Tasks" } th scope="col" class="n" { "Number" } } }
                tbody { @for (what, count) in load.outcomes() {
                    tr { th scope="row" { (what) } td class="n" { (units::count(count)) } }
                } }
            }
        }))
    }
}

fn rows(load: &LoadSummary<'_>) -> Markup {
    let (rows, each) = few_rows(&load.record.rows, ROWS);
    html! {
        (scrolling("Over time", &html! {
            table {
                thead { tr { @for name in OVER_TIME { th scope="col" class="n" { (name) } } } }
                tbody { @for (at, row) in rows.iter().enumerate() {
                    tr { @for cell in cells(load.record.row_us * (at * each) as u64, row) { td class="n" { (cell) } } }
                } }
            }
        }))
    }
}

/// One line of a panel: its name, its class, and its values; a gap if one is not known.
struct Line {
    name: &'static str,
    class: &'static str,
    values: Vec<Option<f64>>,
}

/// Lines with one scale, from 0.
struct Panel {
    lines: Vec<Line>,
    write: fn(f64) -> String,
}

fn panels(load: &LoadSummary<'_>) -> Markup {
    let rows = &load.record.rows;
    let row_s = as_f64(load.record.row_us) / 1e6;
    if rows.is_empty() || row_s <= 0.0 {
        return html! { p { "Nothing was seen." } };
    }
    let line = |name, class, of: &dyn Fn(&LoadRow) -> Option<f64>| Line {
        name,
        class,
        values: rows.iter().map(of).collect(),
    };
    let a_second = |count: u64| Some(as_f64(count) / row_s);
    let known = [
        Panel {
            lines: vec![
                line("queued/s", "t-first", &|row| a_second(row.submitted)),
                line("ended/s", "t-cached", &|row| a_second(row.done)),
                line("refused/s", "t-missed", &|row| a_second(row.refused)),
            ],
            write: rate,
        },
        Panel {
            lines: vec![
                line("waiting", "t-first", &|row| row.waiting.map(as_f64)),
                line("running", "t-cached", &|row| row.running.map(as_f64)),
            ],
            write: whole,
        },
        Panel {
            lines: vec![line("memory", "t-uncached", &|row| row.memory_bytes.map(as_f64))],
            write: bytes,
        },
        Panel {
            lines: vec![line("disk", "t-open", &|row| row.disk_bytes.map(as_f64))],
            write: bytes,
        },
    ];
    let known: Vec<Panel> = known.into_iter().filter_map(Panel::seen).collect();
    let end_us = as_f64(load.record.row_us * rows.len() as u64);
    let height = known.len() as f64 * PANEL;
    html! {
        figure {
            svg class="plot" width="100%" height=(height + 24.0) role="img" aria-labelledby="over-time-title over-time-desc" {
                title id="over-time-title" { "Rates, queue, memory and disk over time" }
                desc id="over-time-desc" { "The table below holds the same figures." }
                (grid(&LinearAxis::to(end_us).ticks_written(6.0, time), 0.0, height))
                @for (at, panel) in known.iter().enumerate() { (panel.draw(at as f64 * PANEL)) }
            }
            figcaption {
                "Each panel begins at 0 and ends at the largest value that its title names. A point is "
                (units::duration(as_f64(load.record.row_us))) ": the mean of a rate, the largest of the rest."
            }
        }
    }
}

impl Panel {
    /// Without lines that are empty or always 0; `None` if none is left.
    fn seen(mut self) -> Option<Panel> {
        self.lines.retain(|line| line.most() > 0.0);
        (!self.lines.is_empty()).then_some(self)
    }

    fn draw(&self, top: f64) -> Markup {
        let most = self.lines.iter().map(Line::most).fold(0.0, f64::max);
        html! {
            g class="halo" {
                text x="0" y=(top + 15.0) {
                    @for (at, line) in self.lines.iter().enumerate() {
                        tspan class=(format!("mark-word {}", line.class)) dx=(if at == 0 { "0" } else { "12" }) { "— " }
                        tspan { (line.name) }
                        tspan class="muted" dx="5" { "≤ " ((self.write)(line.most())) }
                    }
                }
            }
            svg x="0" y=(top + TITLE) width="100%" height=(PANEL - TITLE - GAP) viewBox=(format!("0 0 {WIDE} {HIGH}"))
                preserveAspectRatio="none" overflow="visible" {
                line class="rule" x1="0" x2=(WIDE) y1=(HIGH) y2=(HIGH) {}
                @for line in &self.lines {
                    @for points in line.points(most) { polyline class=(format!("trend {}", line.class)) points=(points) {} }
                }
            }
        }
    }
}

impl Line {
    fn most(&self) -> f64 {
        self.values.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// Stretches of known values as points of a polyline.
    fn points(&self, most: f64) -> Vec<String> {
        let width = WIDE / self.values.len().max(1) as f64;
        let place = |(at, value): (usize, &Option<f64>)| {
            let x = (at as f64 + 0.5) * width;
            value.map(|value| format!("{x:.1},{:.2}", HIGH * (1.0 - value / most)))
        };
        let placed: Vec<Option<String>> = self.values.iter().enumerate().map(place).collect();
        let stretches = placed.split(Option::is_none).filter(|stretch| !stretch.is_empty());
        stretches
            .map(|stretch| stretch.iter().flatten().cloned().collect::<Vec<_>>().join(" "))
            .collect()
    }
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

#[expect(clippy::cast_possible_truncation, reason = "sizes fit 64 bits")]
#[expect(clippy::cast_sign_loss, reason = "sizes are not negative")]
fn bytes(value: f64) -> String {
    units::bytes(value as u64)
}

/// A time since the beginning, in the unit that keeps it short.
fn time(us: f64) -> String {
    let seconds = us / 1e6;
    match seconds {
        _ if seconds >= 7200.0 => format!("{} h", (seconds / 360.0).round() / 10.0),
        _ if seconds >= 600.0 => format!("{} min", (seconds / 6.0).round() / 10.0),
        _ => format!("{} s", (seconds * 10.0).round() / 10.0),
    }
}
