//! The samples of one group on a linear axis, in the order in which they were taken. This shows what the logarithmic strip
//! compresses into a few pixels, and drift over the run, which jitter would hide.

use hybrid_cache_model::sample::{Acceptance, Sample};
use maud::{Markup, html};

use super::axis::{LinearAxis, grid, percent};
use super::palette::temperature_class;
use crate::stats::as_f64;
use crate::summary::GroupSummary;
use crate::units;

/// Fewer points than this are distinguishable on the strip already.
const FROM_SAMPLES: usize = 10;
/// The axis ends this many interquartile ranges above the upper quartile: a straggler must not press the rest together.
const FENCE: f64 = 4.0;
const TOP: f64 = 26.0;
const HEIGHT: f64 = 112.0;

/// The figure; empty if the group has too few samples.
pub(super) fn zoom(id: &str, group: &GroupSummary, samples: &[&Sample]) -> Markup {
    let mut own: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.temperature == group.temperature && sample.acceptance == Acceptance::Accepted)
        .copied()
        .collect();
    own.sort_by_key(|sample| sample.sequence);
    let Some(wall) = group.wall.as_ref().filter(|wall| wall.n >= FROM_SAMPLES) else {
        return html! {};
    };
    let end_us = last_within_fence_us(&own);
    let axis = LinearAxis::over(as_f64(wall.min_us), end_us);
    let beyond = own.iter().filter(|sample| as_f64(sample.wall_us) > end_us).count();
    let name = group.temperature.name();
    let id = format!("{id}-zoom-{name}");
    let class = temperature_class(group.temperature);
    html! {
        figure {
            svg class="plot" width="100%" height=(TOP + HEIGHT + 24.0) role="img"
                aria-labelledby=(format!("{id}-title {id}-desc")) {
                title id=(format!("{id}-title")) { "Every " (name) " sample that counts, in the order taken" }
                desc id=(format!("{id}-desc")) {
                    "Between " (units::duration_range(as_f64(wall.min_us), as_f64(wall.max_us)))
                    ", median " (units::duration(wall.median_us)) "."
                }
                text x="0" y="16" { tspan class="strong" { (name) } tspan class="muted" dx="8" { "enlarged, linear" } }
                (grid(&axis.ticks(), TOP, TOP + HEIGHT))
                @if let Some(interval) = &wall.interval {
                    @let (low, high) = (axis.at(interval.low), axis.at(interval.high));
                    rect class=(format!("zone {class}")) x=(percent(low)) width=(percent(high - low)) y=(TOP) height=(HEIGHT) {}
                }
                @let median = percent(axis.at(wall.median_us));
                line class="median thin" x1=(median) x2=(median) y1=(TOP) y2=(TOP + HEIGHT) {}
                @for (index, sample) in own.iter().enumerate() { (point(sample, &axis, end_us, class, height(index, own.len()))) }
                @if beyond > 0 {
                    text class="muted" x="100%" y="16" text-anchor="end" { (beyond) " beyond →" }
                }
            }
            figcaption { "From top to bottom in the order taken. Line: median; zone: its interval." }
        }
    }
}

/// The slowest sample that the axis holds; slower ones are drawn at its edge, as arrows.
fn last_within_fence_us(samples: &[&Sample]) -> f64 {
    let mut sorted: Vec<f64> = samples.iter().map(|sample| as_f64(sample.wall_us)).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let [lower, upper] = [sorted.len() / 4, sorted.len() * 3 / 4].map(|at| sorted[at]);
    let fence = upper + FENCE * (upper - lower);
    sorted.into_iter().filter(|us| *us <= fence).fold(0.0, f64::max)
}

fn height(index: usize, n: usize) -> f64 {
    TOP + 7.0 + (HEIGHT - 14.0) * index as f64 / n.saturating_sub(1).max(1) as f64
}

fn point(sample: &Sample, axis: &LinearAxis, end_us: f64, class: &str, y: f64) -> Markup {
    let us = as_f64(sample.wall_us);
    html! {
        @if us > end_us {
            svg x="100%" y=(y) overflow="visible" {
                path class=(format!("point {class}")) d="M-11-4L-2 0L-11 4Z" { title { "#" (sample.sequence) ", " (units::duration(us)) } }
            }
        } @else {
            circle class=(format!("point {class}")) cx=(percent(axis.at(us))) cy=(format!("{y:.1}")) r="3.5" {
                title { "#" (sample.sequence) ", " (units::duration(us)) }
            }
        }
    }
}
