//! The strip plot of a scenario: every sample as a point, medians with their intervals, claimed ranges behind.

use hybrid_cache_model::sample::{Acceptance, Sample};
use maud::{Markup, html};

use super::axis::{LogAxis, grid, percent};
use super::overview::band;
use super::palette::temperature_class;
use crate::host_noise;
use crate::stats::{SplitMix64, as_f64};
use crate::summary::{GroupSummary, ScenarioSummary};
use crate::units;

/// Height of a row, and within it: the points' middle and spread, the interval, the claim's label. In pixels.
const ROW: f64 = 116.0;
const POINTS_MIDDLE: f64 = 48.0;
const POINTS_SPREAD: f64 = 34.0;
const INTERVAL: f64 = 78.0;
const CLAIM_LABEL: f64 = 99.0;
const BAND_TOP: f64 = 26.0;

/// The figure; empty if there is nothing to draw.
pub(super) fn strip(id: &str, scenario: &ScenarioSummary, samples: &[&Sample]) -> Markup {
    let claims = scenario.groups.iter().filter_map(|group| group.claim.as_ref());
    let ends = claims.flat_map(|result| [result.claim.min_s * 1e6, result.claim.max_s * 1e6]);
    let Some(axis) = LogAxis::around(samples.iter().map(|sample| as_f64(sample.wall_us)).chain(ends)) else {
        return html! {};
    };
    let mut height = 0.0;
    let mut rows = Vec::new();
    for group in &scenario.groups {
        rows.push((group, height));
        height += ROW;
    }
    html! {
        figure {
            svg class="plot" width="100%" height=(height + 24.0) role="img"
                aria-labelledby=(format!("{id}-strip-title {id}-strip-desc")) {
                title id=(format!("{id}-strip-title")) { "Every sample of " (units::title(&scenario.name)) }
                desc id=(format!("{id}-strip-desc")) {
                    @for group in &scenario.groups { (group.temperature.name()) ": " (caption(group)) ". " }
                }
                (grid(&axis.ticks(), 24.0, height))
                @for (group, top) in rows { (row(group, samples, &axis, top)) }
            }
            figcaption {
                "Each point is one run, on a logarithmic time axis (height is jitter only); its tooltip has the host noise meanwhile. The bar below is the interval \
                 of the median, the vertical mark the median. "
                @if scenario.groups.iter().any(|group| group.claim.is_some()) { "Shaded: the claimed range. " }
                @if samples.iter().any(|sample| sample.acceptance != Acceptance::Accepted) {
                    "Hollow ○: rejected, × failed; neither counts."
                }
            }
        }
    }
}

fn caption(group: &GroupSummary) -> String {
    let Some(wall) = &group.wall else {
        return "no sample counts".to_owned();
    };
    let mut text = format!("n = {}, median {}", wall.n, units::duration(wall.median_us));
    if let Some(interval) = &wall.interval {
        text.push_str(&format!(
            " ({} interval {})",
            units::level(interval.level),
            units::interval(interval)
        ));
    }
    text
}

fn row(group: &GroupSummary, samples: &[&Sample], axis: &LogAxis, top: f64) -> Markup {
    let class = temperature_class(group.temperature);
    let own: Vec<&&Sample> = samples
        .iter()
        .filter(|sample| sample.temperature == group.temperature)
        .collect();
    html! {
        g class="halo" {
            @if top > 0.0 { line class="rule" x1="0" x2="100%" y1=(top) y2=(top) {} }
            text x="0" y=(top + 17.0) {
                tspan class="strong" { (group.temperature.name()) }
                tspan class="muted" dx="8" { (short_caption(group)) }
            }
            @if let Some(result) = &group.claim {
                (band(axis, result.claim, group.temperature, top + BAND_TOP, ROW - BAND_TOP - 8.0))
                (claim_label(axis, result, top + CLAIM_LABEL))
            }
            @for sample in own { (point(sample, class, axis, top)) }
            @if let Some(wall) = &group.wall {
                @if let Some(interval) = &wall.interval {
                    @let (low, high) = (axis.at(interval.low), axis.at(interval.high));
                    rect class=(format!("interval {class}"))
                        x=(percent(low)) width=(percent((high - low).max(0.001))) y=(top + INTERVAL - 3.0) height="6" rx="1" {}
                }
                @let median = percent(axis.at(wall.median_us));
                line class=(format!("median {class}")) x1=(median) x2=(median)
                    y1=(top + INTERVAL - 8.0) y2=(top + INTERVAL + 8.0) {}
            }
        }
    }
}

/// What fits next to the temperature's name on a phone; the interval's level is in the table.
fn short_caption(group: &GroupSummary) -> String {
    match &group.wall {
        Some(wall) => format!("n = {} · median {}", wall.n, units::duration(wall.median_us)),
        None => "no sample counts".to_owned(),
    }
}

fn point(sample: &Sample, class: &str, axis: &LogAxis, top: f64) -> Markup {
    let x = percent(axis.at(as_f64(sample.wall_us)));
    // Seeded by the sample's own number: the same report draws the same picture.
    let jitter = (SplitMix64::seeded(u64::from(sample.sequence)).next() >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
    let y = format!("{:.1}", top + POINTS_MIDDLE + jitter * POINTS_SPREAD);
    html! {
        @match &sample.acceptance {
            Acceptance::Accepted => circle class=(format!("point {class}")) cx=(x) cy=(y) r="4.5" {
                (tip(sample, "counts"))
            },
            Acceptance::WrongTemperature { .. } => circle class=(format!("hollow {class}")) cx=(x) cy=(y) r="4.5" {
                (tip(sample, "rejected"))
            },
            Acceptance::Failed { .. } => svg x=(x) y=(y) overflow="visible" {
                path class=(format!("cross {class}")) d="M-5-5L5 5M-5 5L5-5" { (tip(sample, "failed")) }
            },
        }
    }
}

fn tip(sample: &Sample, verdict: &str) -> Markup {
    let noise = host_noise::of_sample(sample);
    html! {
        title {
            "#" (sample.sequence) ", " (units::duration(as_f64(sample.wall_us))) ", " (verdict)
            @if !noise.is_empty() { "; host noise: " (noise) }
        }
    }
}

/// The label is at the end of the band that has more room next to it.
fn claim_label(axis: &LogAxis, result: &crate::claim::ClaimResult, y: f64) -> Markup {
    let (left, right) = (axis.at(result.claim.min_s * 1e6), axis.at(result.claim.max_s * 1e6));
    let from_left = left + right < 1.0;
    let (x, dx, anchor) = if from_left {
        (left, "6", "start")
    } else {
        (right, "-6", "end")
    };
    html! {
        text class="claim" x=(percent(x)) dx=(dx) y=(y) text-anchor=(anchor) {
            "claim " (units::seconds_range(result.claim.min_s, result.claim.max_s)) ": " (result.verdict.name())
        }
    }
}
