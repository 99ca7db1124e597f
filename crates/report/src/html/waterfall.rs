//! The waterfall of one run: its spans by lane over time, those after the answer included.

use hybrid_cache_model::sample::Sample;
use hybrid_cache_model::{Lane, Span};
use maud::{Markup, html};

use super::axis::{LinearAxis, grid, percent};
use super::palette::phase_class;
use crate::stats::as_f64;
use crate::units;

const LANE_HEADING: f64 = 26.0;
/// A label line and a bar below it: so a label never competes with bars for room.
const ROW: f64 = 32.0;
const HEAD: f64 = 26.0;
/// Least width of a span, as a share of the plot: a shape without width is not drawn at all.
const VISIBLE: f64 = 0.001;
/// A span narrower than this share of the plot is short: nothing of it but its place can be seen.
const SHORT: f64 = 0.005;
/// Short spans of one lane that begin within this share of the plot are drawn as one row.
const TOGETHER: f64 = 0.01;
/// Names that the label of such a row has room for.
const NAMES: usize = 2;
const LANES: [(Lane, &str); 5] = [
    (Lane::Driver, "driver"),
    (Lane::Runner, "runner"),
    (Lane::Python, "prepare Python"),
    (Lane::System, "prepare system"),
    (Lane::Publish, "publish"),
];

/// The figure; empty if the run has no spans.
pub(super) fn waterfall(id: &str, sample: &Sample) -> Markup {
    let spans = &sample.timeline.spans;
    let last_us = spans.iter().map(Span::end_us).max().unwrap_or(0).max(sample.wall_us);
    if spans.is_empty() || last_us == 0 {
        return html! {};
    }
    let axis = LinearAxis::to(as_f64(last_us));
    let lanes = LANES.map(|(lane, name)| (name, rows(lane_spans(spans, lane), &axis)));
    let mut height = HEAD;
    let mut drawn = Vec::new();
    for (name, rows) in lanes.iter().filter(|(_, rows)| !rows.is_empty()) {
        drawn.push(lane_rows(name, rows, &axis, height));
        height += LANE_HEADING + rows.len() as f64 * ROW;
    }
    html! {
        figure {
            svg class="plot" width="100%" height=(height + 28.0) role="img"
                aria-labelledby=(format!("{id}-fall-title {id}-fall-desc")) {
                title id=(format!("{id}-fall-title")) {
                    "Waterfall of " (sample.temperature.name()) " run #" (sample.sequence)
                }
                desc id=(format!("{id}-fall-desc")) { (description(sample)) }
                (after_the_answer(sample, &axis, last_us, height))
                (grid(&axis.ticks(), HEAD, height + 4.0))
                (answer(sample, &axis, height))
                @for markup in drawn { (markup) }
            }
        }
    }
}

fn lane_spans(spans: &[Span], lane: Lane) -> Vec<Span> {
    let mut own: Vec<Span> = spans.iter().filter(|span| span.lane == lane).copied().collect();
    own.sort_by_key(|span| (span.start_us, span.end_us()));
    own
}

/// One row for each span, but neighbours too short to distinguish share one: a real run has a dozen of them.
fn rows(spans: Vec<Span>, axis: &LinearAxis) -> Vec<Vec<Span>> {
    let width = |from: u64, to: u64| axis.at(as_f64(to)) - axis.at(as_f64(from));
    let short = |span: &Span| width(span.start_us, span.end_us()) < SHORT;
    let mut rows: Vec<Vec<Span>> = Vec::new();
    for span in spans {
        match rows.last_mut() {
            Some(row) if short(&span) && short(&row[0]) && width(row[0].start_us, span.start_us) < TOGETHER => {
                row.push(span);
            }
            _ => rows.push(vec![span]),
        }
    }
    rows
}

fn lane_rows(name: &str, rows: &[Vec<Span>], axis: &LinearAxis, top: f64) -> Markup {
    html! {
        g class="halo" {
            line class="rule" x1="0" x2="100%" y1=(top + 4.0) y2=(top + 4.0) {}
            text class="lane" x="0" y=(top + 20.0) { (name) }
            @for (index, row) in rows.iter().enumerate() { (drawn_row(row, axis, top + LANE_HEADING + index as f64 * ROW)) }
        }
    }
}

fn drawn_row(row: &[Span], axis: &LinearAxis, top: f64) -> Markup {
    let start_us = row.iter().map(|span| span.start_us).min().unwrap_or(0);
    let end_us = row.iter().map(Span::end_us).max().unwrap_or(0);
    let (left, right) = (axis.at(as_f64(start_us)), axis.at(as_f64(end_us)));
    // Towards the end the label ends where the bar ends: a third of the width is enough for the longest one.
    let (x, anchor) = match left {
        left if left < 0.33 => (left, "start"),
        left if left < 0.6 && row.len() > 1 => (left, "middle"),
        left if left < 0.5 => (left, "start"),
        _ => (right, "end"),
    };
    let spent_us: u64 = row.iter().map(|span| span.duration_us).sum();
    html! {
        text x=(percent(x)) y=(top + 11.0) text-anchor=(anchor) {
            tspan { (names(row)) }
            tspan class="muted" dx="6" { (units::duration(as_f64(spent_us))) }
        }
        @for span in row {
            @let (left, right) = (axis.at(as_f64(span.start_us)), axis.at(as_f64(span.end_us())));
            rect class=(format!("fall {}", phase_class(Some(span.phase))))
                x=(percent(left)) y=(top + 16.0) width=(percent((right - left).max(VISIBLE))) height="10" {
                title { (span.phase.label()) ": " (units::duration(as_f64(span.duration_us))) }
            }
        }
    }
}

/// `lock wait, cache lookup, 2 more`.
fn names(row: &[Span]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for span in row {
        if !names.contains(&span.phase.label()) {
            names.push(span.phase.label());
        }
    }
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let shown = names.join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown}, {more} more")
    }
}

fn after_the_answer(sample: &Sample, axis: &LinearAxis, last_us: u64, height: f64) -> Markup {
    let at = axis.at(as_f64(sample.wall_us));
    html! {
        @if last_us > sample.wall_us {
            rect class="after" x=(percent(at)) y=(HEAD) width=(percent(1.0 - at)) height=(height - HEAD + 4.0) {}
        }
    }
}

fn answer(sample: &Sample, axis: &LinearAxis, height: f64) -> Markup {
    let at = axis.at(as_f64(sample.wall_us));
    let anchor = if at < 0.5 { "start" } else { "end" };
    html! {
        line class="answer" x1=(percent(at)) x2=(percent(at)) y1=(HEAD - 8.0) y2=(height + 4.0) {}
        text class="strong" x=(percent(at)) y="12" text-anchor=(anchor) {
            "answer after " (units::duration(as_f64(sample.wall_us)))
        }
    }
}

fn description(sample: &Sample) -> String {
    let spans: Vec<String> = sample
        .timeline
        .spans
        .iter()
        .map(|span| {
            let [start, duration] = [span.start_us, span.duration_us].map(|us| units::duration(as_f64(us)));
            format!("{} from {start} for {duration}", span.phase.label())
        })
        .collect();
    spans.join("; ")
}
