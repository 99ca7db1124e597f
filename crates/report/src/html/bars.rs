//! Stacked bars of phases: each temperature's median sample on one scale, enlarged if it would be a sliver.

use hybrid_cache_model::Temperature;
use maud::{Markup, html};

use super::axis::{LinearAxis, grid, percent};
use super::palette::phase_class;
use crate::phases::{Attribution, PhaseRow};
use crate::stats::as_f64;
use crate::summary::ScenarioSummary;
use crate::units;

const BAR: f64 = 34.0;
const SLIVER: f64 = 12.0;
/// A bar shorter than this share of the widest is drawn once more, enlarged.
const ENLARGE_BELOW: f64 = 0.6;
/// Narrower parts have no gap next to them: the gap would hide them.
const GAP_FROM: f64 = 0.006;

/// Widths of the plot in pixels, least to widest, that labels are fitted to: phone, tablet, screen. The media queries
/// in `style.css` go with them.
const FITS: [(f64, Fit); 3] = [(320.0, Fit::Phone), (620.0, Fit::Tablet), (940.0, Fit::Screen)];

/// The narrowest page on which a label fits.
#[derive(Clone, Copy, PartialEq)]
enum Fit {
    Phone,
    Tablet,
    Screen,
}

/// The figure; empty if no sample counts.
pub(super) fn bars(id: &str, scenario: &ScenarioSummary) -> Markup {
    let groups: Vec<(Temperature, &Attribution)> = scenario
        .groups
        .iter()
        .filter_map(|group| Some((group.temperature, group.attribution.as_ref()?)))
        .collect();
    let widest_us = groups
        .iter()
        .map(|(_, attribution)| attribution.total_us)
        .max()
        .unwrap_or(0);
    if widest_us == 0 {
        return html! {};
    }
    let axis = LinearAxis::to(as_f64(widest_us));
    let mut top = 0.0;
    let mut drawn = Vec::new();
    for (temperature, attribution) in &groups {
        let (markup, height) = group_bars(*temperature, attribution, &axis, top);
        drawn.push(markup);
        top += height;
    }
    html! {
        figure {
            svg class="plot" width="100%" height=(top) role="img"
                aria-labelledby=(format!("{id}-bars-title {id}-bars-desc")) {
                title id=(format!("{id}-bars-title")) { "Where the time of the median runs went" }
                desc id=(format!("{id}-bars-desc")) { "The table below holds the same figures." }
                @for markup in drawn { (markup) }
            }
            figcaption {
                "Each bar is one run, the median one, on the scale of the slowest; a short one is repeated below, enlarged. \
                 Colours are explained in the table."
            }
        }
    }
}

fn group_bars(temperature: Temperature, attribution: &Attribution, axis: &LinearAxis, top: f64) -> (Markup, f64) {
    let share = axis.at(as_f64(attribution.total_us));
    let total = units::duration(as_f64(attribution.total_us));
    let name = temperature.name();
    if share >= ENLARGE_BELOW {
        let markup = html! {
            (heading(name, &format!("median run #{}: {total}", attribution.sequence), top))
            (grid(&axis.ticks(), top + 24.0, top + 30.0 + BAR + 4.0))
            (stack(attribution, share, top + 28.0, BAR))
        };
        return (markup, 24.0 + BAR + 44.0);
    }
    let own = LinearAxis::to(as_f64(attribution.total_us));
    let zoom = units::ratio(1.0 / share.max(1e-9));
    let bar_top = top + 28.0 + SLIVER + 22.0;
    let markup = html! {
        (heading(name, &format!("median run #{}: {total} · enlarged {zoom}", attribution.sequence), top))
        (stack_plain(attribution, share, top + 26.0, SLIVER))
        (lens(share, top + 26.0 + SLIVER + 2.0, bar_top - 2.0))
        (grid(&own.ticks(), bar_top - 2.0, bar_top + BAR + 6.0))
        (stack(attribution, 1.0, bar_top, BAR))
    };
    (markup, bar_top - top + BAR + 38.0)
}

fn heading(name: &str, rest: &str, top: f64) -> Markup {
    html! {
        text x="0" y=(top + 16.0) {
            tspan class="strong" { (name) }
            tspan class="muted" dx="8" { (rest) }
        }
    }
}

/// The bar's parts and their labels, over `width` of the plot.
fn stack(attribution: &Attribution, width: f64, top: f64, height: f64) -> Markup {
    let parts = placed(attribution, width);
    html! {
        (shapes(&parts, top, height))
        @for (row, at, share) in &parts { (label(row, *at, *share, top + height / 2.0 + 4.0)) }
    }
}

fn stack_plain(attribution: &Attribution, width: f64, top: f64, height: f64) -> Markup {
    shapes(&placed(attribution, width), top, height)
}

fn shapes(parts: &[(&PhaseRow, f64, f64)], top: f64, height: f64) -> Markup {
    html! {
        @for (row, at, share) in parts {
            rect class=(format!("part {}", phase_class(row.phase)))
                x=(percent(*at)) y=(top) width=(percent(*share)) height=(height) {
                title { (row.label()) ": " (units::duration(as_f64(row.bar_us))) ", " (units::share(row.share)) }
            }
            @if *share > GAP_FROM && *at > 0.0 {
                line class="gap" x1=(percent(*at)) x2=(percent(*at)) y1=(top) y2=(top + height) {}
            }
        }
    }
}

/// Each row that takes time, with its start and its width as shares of the plot.
fn placed(attribution: &Attribution, width: f64) -> Vec<(&PhaseRow, f64, f64)> {
    let mut at = 0.0;
    let mut parts = Vec::new();
    for row in attribution.rows.iter().filter(|row| row.bar_us > 0) {
        let share = row.share * width;
        parts.push((row, at, share));
        at += share;
    }
    parts
}

/// The part's name and time if both fit, else the name, else nothing; which it is depends on the page's width.
fn label(row: &PhaseRow, at: f64, share: f64, y: f64) -> Markup {
    let long = format!("{} {}", row.label(), units::duration(as_f64(row.bar_us)));
    let (long_fit, short_fit) = (fit(&long, share), fit(row.label(), share));
    let classes = format!("in {}-text", phase_class(row.phase));
    html! {
        @if let Some(fit) = long_fit {
            text class=(format!("{classes} {}", from(fit))) x=(percent(at + share / 2.0)) y=(y) { (long) }
        }
        @if short_fit != long_fit {
            @if let Some(fit) = short_fit {
                text class=(format!("{classes} {} {}", from(fit), below(long_fit)))
                    x=(percent(at + share / 2.0)) y=(y) { (row.label()) }
            }
        }
    }
}

fn fit(text: &str, share: f64) -> Option<Fit> {
    // 6.6 px is the mean width of a letter at 12 px, rounded up; 12 px keep the text off the edges.
    let needed = text.chars().count() as f64 * 6.6 + 12.0;
    FITS.iter()
        .find(|(width, _)| share * width >= needed)
        .map(|(_, fit)| *fit)
}

fn from(fit: Fit) -> &'static str {
    match fit {
        Fit::Phone => "",
        Fit::Tablet => "from-tablet",
        Fit::Screen => "from-screen",
    }
}

fn below(fit: Option<Fit>) -> &'static str {
    match fit {
        Some(Fit::Tablet) => "below-tablet",
        Some(Fit::Screen) => "below-screen",
        _ => "",
    }
}

/// The beam from the sliver to its enlargement. Only this piece is stretched: it holds no text.
fn lens(share: f64, top: f64, bottom: f64) -> Markup {
    let right = share * 100.0;
    html! {
        svg class="lens" x="0" y=(top) width="100%" height=(bottom - top) viewBox="0 0 100 10" preserveAspectRatio="none"
            aria-hidden="true" {
            polygon points=(format!("0,0 {right:.3},0 100,10 0,10")) {}
        }
    }
}
