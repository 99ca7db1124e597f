//! The figure at the top: every scenario's medians on one time axis, with the claimed ranges behind them.

use hybrid_cache_model::{Claim, Temperature};
use maud::{Markup, html};

use super::axis::{LogAxis, anchor, grid, percent};
use super::palette::temperature_class;
use crate::stats::Distribution;
use crate::summary::{GroupSummary, ScenarioSummary, Summary};
use crate::units;

const ROW: f64 = 68.0;
/// Value labels that are closer than this share of the width go to the left and right of their marks.
const CLOSE: f64 = 0.24;

/// The overview of all scenarios; empty if nothing was measured.
pub(super) fn overview(summary: &Summary) -> Markup {
    let Some(axis) = LogAxis::around(summary.scenarios.iter().flat_map(values)) else {
        return html! {};
    };
    let mut height = 8.0;
    let mut rows = Vec::new();
    for scenario in &summary.scenarios {
        rows.push((scenario, height));
        height += ROW;
    }
    html! {
        figure {
            svg class="plot" width="100%" height=(height + 24.0) role="img" aria-labelledby="glance-title glance-desc" {
                title id="glance-title" { "Median wall time of every scenario, first and cached" }
                desc id="glance-desc" {
                    @for scenario in &summary.scenarios { (crate::headline::headline(scenario)) ". " }
                }
                (grid(&axis.ticks(), 0.0, height))
                @for (scenario, top) in rows { (row(scenario, &axis, top)) }
            }
            figcaption {
                (legend(summary))
                "Logarithmic time axis. Marks are medians of the end-to-end time of samples that count; the vertical tick marks \
                 the runner's own time in a cached run, inside its sandbox or pod."
            }
        }
    }
}

fn legend(summary: &Summary) -> Markup {
    let measured = |temperature| summary.scenarios.iter().any(|s| s.group(temperature).is_some());
    html! {
        span class="legend" {
            @for temperature in Temperature::ALL.into_iter().filter(|temperature| measured(*temperature)) {
                span class="key" {
                    svg class="swatch" width="18" height="14" aria-hidden="true" { (mark(temperature, "9", "7")) }
                    (temperature.name())
                }
            }
            @if summary.scenarios.iter().any(|scenario| runner_us(scenario).is_some()) {
                span class="key" {
                    svg class="swatch" width="18" height="14" aria-hidden="true" {
                        line class="runner" x1="2" x2="2" y1="1" y2="13" {}
                        line class="runner thin" x1="2" x2="18" y1="7" y2="7" {}
                    }
                    "cached, runner"
                }
            }
            @if summary.claims().next().is_some() {
                span class="key" {
                    svg class="swatch" width="34" height="14" aria-hidden="true" {
                        rect class="band t-cached" x="1" y="1" width="15" height="12" {}
                        rect class="band t-first" x="18" y="1" width="15" height="12" {}
                    }
                    "claimed range"
                }
            }
        }
    }
}

/// A mark whose shape tells the temperature: diamond, circle, and a hollow square, which leaves a mark below it visible.
pub(super) fn mark(temperature: Temperature, x: &str, y: &str) -> Markup {
    let class = temperature_class(temperature);
    html! {
        svg x=(x) y=(y) overflow="visible" class="mark" {
            @match temperature {
                Temperature::First => path class=(class) d="M0-7L7 0L0 7L-7 0Z" {},
                Temperature::Cached => circle class=(class) r="5.5" {},
                Temperature::Uncached => rect class=(class) x="-7" y="-7" width="14" height="14" {},
            }
        }
    }
}

fn values(scenario: &ScenarioSummary) -> Vec<f64> {
    let medians = scenario.measured().map(|(_, wall)| wall.median_us);
    let claims = scenario.groups.iter().filter_map(|group| group.claim.as_ref());
    medians
        .chain(runner_us(scenario))
        .chain(claims.flat_map(|result| [result.claim.min_s * 1e6, result.claim.max_s * 1e6]))
        .collect()
}

/// Median of the runner's own time in cached runs, in microseconds. A first run may prepare outside of it, so only the tables
/// show that one.
fn runner_us(scenario: &ScenarioSummary) -> Option<f64> {
    let runner = scenario.group(Temperature::Cached)?.runner.as_ref()?;
    Some(runner.median_us).filter(|us| *us > 0.0)
}

/// The vertical tick with a thin line to the mark of the end-to-end time, and its value if there is room.
fn runner_mark(scenario: &ScenarioSummary, axis: &LogAxis, middle: f64) -> Markup {
    let seen = scenario
        .group(Temperature::Cached)
        .and_then(|group| group.wall.as_ref());
    let Some((runner_us, seen)) = runner_us(scenario).zip(seen) else {
        return html! {};
    };
    let (left, right) = (axis.at(runner_us), axis.at(seen.median_us));
    html! {
        line class="runner thin" x1=(percent(left)) x2=(percent(right)) y1=(middle) y2=(middle) {}
        line class="runner" x1=(percent(left)) x2=(percent(left)) y1=(middle - 7.0) y2=(middle + 7.0) {
            title { "cached, runner: " (units::duration(runner_us)) }
        }
        @if right - left > CLOSE {
            text x=(percent(left)) y=(middle + 22.0) text-anchor=(anchor(left)) class="muted" { (units::duration(runner_us)) }
        }
    }
}

fn row(scenario: &ScenarioSummary, axis: &LogAxis, top: f64) -> Markup {
    let middle = top + 36.0;
    let measured: Vec<(&GroupSummary, &Distribution)> = scenario.measured().collect();
    let positions: Vec<f64> = measured.iter().map(|(_, wall)| axis.at(wall.median_us)).collect();
    let ends = positions
        .iter()
        .copied()
        .reduce(f64::min)
        .zip(positions.iter().copied().reduce(f64::max));
    html! {
        g class="halo" {
            text class="strong" x="0" y=(top + 15.0) { (units::title(&scenario.name)) }
            @if let Some(ratio) = &scenario.ratio {
                text class="strong" x="100%" y=(top + 15.0) text-anchor="end" { (units::ratio(ratio.value)) }
            }
            @for group in &scenario.groups {
                @if let Some(result) = &group.claim { (band(axis, result.claim, group.temperature, middle - 9.0, 18.0)) }
            }
            @if let Some((left, right)) = ends {
                line class="span" x1=(percent(left)) x2=(percent(right)) y1=(middle) y2=(middle) {}
            }
            (runner_mark(scenario, axis, middle))
            @for ((group, wall), position) in measured.iter().zip(&positions) {
                (mark(group.temperature, &percent(*position), &middle.to_string()))
                @let (anchor, dx) = label_anchor(*position, &positions);
                text x=(percent(*position)) dx=(dx) y=(middle + 22.0) text-anchor=(anchor) {
                    (units::duration(wall.median_us))
                }
            }
        }
    }
}

/// A claimed range as a shaded band with edges.
pub(super) fn band(axis: &LogAxis, claim: Claim, temperature: Temperature, top: f64, height: f64) -> Markup {
    let (left, right) = (axis.at(claim.min_s * 1e6), axis.at(claim.max_s * 1e6));
    html! {
        rect class=(format!("band {}", temperature_class(temperature)))
            x=(percent(left)) y=(top) width=(percent(right - left)) height=(height) {}
    }
}

/// Anchor and offset in pixels: labels of marks that are close together go to opposite sides.
fn label_anchor(position: f64, all: &[f64]) -> (&'static str, &'static str) {
    let neighbour = |other: &&f64| **other != position && (**other - position).abs() < CLOSE;
    match all.iter().find(neighbour) {
        Some(other) if *other > position && position > CLOSE / 2.0 => ("end", "-2"),
        Some(other) if *other < position && position < 1.0 - CLOSE / 2.0 => ("start", "2"),
        _ => (anchor(position), "0"),
    }
}
