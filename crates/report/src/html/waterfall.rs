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
const LANES: [(Lane, &str); 5] = [
    (Lane::Driver, "driver"),
    (Lane::Runner, "runner"),
    (Lane::Python, "prepare Python"),
    (Lane::System, "prepare system"),
    (Lane::Publish, "publish"),
];

/// The figure; empty where the run has no spans.
pub(super) fn waterfall(id: &str, sample: &Sample) -> Markup {
    let spans = &sample.timeline.spans;
    let last_us = spans.iter().map(Span::end_us).max().unwrap_or(0).max(sample.wall_us);
    if spans.is_empty() || last_us == 0 {
        return html! {};
    }
    let axis = LinearAxis::to(as_f64(last_us));
    let lanes = LANES.map(|(lane, name)| (name, of_lane(spans, lane)));
    let mut height = HEAD;
    let mut drawn = Vec::new();
    for (name, spans) in lanes.iter().filter(|(_, spans)| !spans.is_empty()) {
        drawn.push(lane_rows(name, spans, &axis, height));
        height += LANE_HEADING + spans.len() as f64 * ROW;
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

fn of_lane(spans: &[Span], lane: Lane) -> Vec<Span> {
    let mut own: Vec<Span> = spans.iter().filter(|span| span.lane == lane).copied().collect();
    own.sort_by_key(|span| (span.start_us, span.end_us()));
    own
}

fn lane_rows(name: &str, spans: &[Span], axis: &LinearAxis, top: f64) -> Markup {
    html! {
        g class="halo" {
            line class="rule" x1="0" x2="100%" y1=(top + 4.0) y2=(top + 4.0) {}
            text class="lane" x="0" y=(top + 20.0) { (name) }
            @for (index, span) in spans.iter().enumerate() { (span_row(span, axis, top + LANE_HEADING + index as f64 * ROW)) }
        }
    }
}

fn span_row(span: &Span, axis: &LinearAxis, top: f64) -> Markup {
    let (left, right) = (axis.at(as_f64(span.start_us)), axis.at(as_f64(span.end_us())));
    // From the middle on, the label ends where the bar ends: half the width is enough for the longest one.
    let (x, anchor) = if left < 0.5 { (left, "start") } else { (right, "end") };
    html! {
        text x=(percent(x)) y=(top + 11.0) text-anchor=(anchor) {
            tspan { (span.phase.label()) }
            tspan class="muted" dx="6" { (units::duration(as_f64(span.duration_us))) }
        }
        rect class=(format!("fall {}", phase_class(Some(span.phase))))
            x=(percent(left)) y=(top + 16.0) width=(percent((right - left).max(VISIBLE))) height="10" {}
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
