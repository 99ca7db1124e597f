//! The page of runs at levels of cold: a picture and a table for each scenario, phases, and what a reader should know.

use hybrid_cache_model::sample::RunRecord;
use hybrid_cache_web::scrolling;
use maud::{Markup, html};

use super::axis::{LogAxis, grid, percent};
use super::closing;
use crate::levels::{COLUMNS, HEAD, LevelRow, ScenarioLevels, headline, levels, phase_table, walls, warnings};
use crate::stats::as_f64;
use crate::units;

/// Height of a level's row, and within it: the text's baseline and the track's middle. In pixels.
const ROW: f64 = 46.0;
const TEXT: f64 = 15.0;
const MIDDLE: f64 = 30.0;

/// What stands in the page's body.
pub(super) fn body(record: &RunRecord) -> Markup {
    let scenarios = levels(record);
    let warnings = warnings(record, &scenarios);
    let provenance = &record.provenance;
    let taken = record.levels.as_ref().map_or(0, |levels| levels.samples.len());
    html! {
        header {
            p class="eyebrow" { "hybrid-cache · measurement report" }
            h1 { "Cold, in levels" }
            p class="lede" {
                (scenarios.len()) " scenarios, " (taken) " runs, driver " code { (provenance.driver) } ", "
                (crate::provenance::processors(provenance)) ", started " time { (provenance.started_at) } "."
            }
            ul class="headlines" { @for (index, scenario) in scenarios.iter().enumerate() {
                @let text = headline(scenario);
                @let (name, rest) = text.split_once(": ").unwrap_or((&text, ""));
                li { a href=(format!("#scenario-{index}")) { (name) } ": " (rest) }
            } }
        }
        main id="main" {
            @for (index, scenario) in scenarios.iter().enumerate() { (section(index, record, scenario)) }
            section id="method" aria-labelledby="method-heading" {
                h2 id="method-heading" { "How to read this" }
                p { (COLUMNS) "." }
            }
            section id="warnings" aria-labelledby="warnings-heading" {
                h2 id="warnings-heading" { "Warnings" }
                @if warnings.is_empty() { p { "None." } }
                ul class="warnings" { @for warning in &warnings { li { (warning) "." } } }
            }
            (closing::provenance(record))
        }
    }
}

fn section(index: usize, record: &RunRecord, scenario: &ScenarioLevels) -> Markup {
    let id = format!("scenario-{index}");
    html! {
        section class="scenario" id=(id) aria-labelledby=(format!("{id}-heading")) {
            h2 id=(format!("{id}-heading")) { (units::title(&scenario.name)) }
            (picture(&id, record, scenario))
            (scrolling(&format!("Levels of {}", scenario.name), &html! {
                table {
                    thead { tr { @for (name, is_number) in HEAD { th scope="col" class=[is_number.then_some("n")] { (name) } } } }
                    tbody { @for row in &scenario.levels { tr {
                        @for (at, (cell, (_, is_number))) in row.cells().iter().zip(HEAD).enumerate() {
                            @if at == 0 { th scope="row" { (cell) } }
                            @else { td class=[is_number.then_some("n")] { (cell) } }
                        }
                    } } }
                }
            }))
            (phases(scenario))
        }
    }
}

fn phases(scenario: &ScenarioLevels) -> Markup {
    let written = |us: Option<f64>| us.map_or("–".to_owned(), units::duration);
    html! {
        details {
            summary { "Where the time went, by level" }
            (scrolling(&format!("Phases of {}", scenario.name), &html! {
                table {
                    thead { tr {
                        th scope="col" { "Median time of a phase" }
                        @for row in &scenario.levels { th scope="col" class="n" { (row.level.name()) } }
                    } }
                    tbody { @for (phase, cells) in phase_table(scenario) { tr {
                        th scope="row" { (phase) }
                        @for us in cells { td class="n" { (written(us)) } }
                    } } }
                }
            }))
        }
    }
}

fn picture(id: &str, record: &RunRecord, scenario: &ScenarioLevels) -> Markup {
    let all = scenario
        .levels
        .iter()
        .flat_map(|row| walls(record, &scenario.name, row.level));
    let Some(axis) = LogAxis::around(all.map(as_f64)) else {
        return html! {};
    };
    let bottom = 24.0 + scenario.levels.len() as f64 * ROW;
    html! {
        figure {
            svg class="plot" width="100%" height=(bottom + 22.0) role="img" aria-labelledby=(format!("{id}-title {id}-desc")) {
                title id=(format!("{id}-title")) { "Every run of " (units::title(&scenario.name)) " that counts, by level" }
                desc id=(format!("{id}-desc")) { (headline(scenario)) }
                (grid(&axis.ticks(), 24.0, bottom))
                @for (at, row) in scenario.levels.iter().enumerate() {
                    (drawn(row, &walls(record, &scenario.name, row.level), &axis, 24.0 + at as f64 * ROW))
                }
            }
            figcaption { "Each point is one run that counts, on a logarithmic time axis; the upright mark is the median." }
        }
    }
}

fn drawn(row: &LevelRow, walls: &[u64], axis: &LogAxis, top: f64) -> Markup {
    let class = super::palette::temperature_class(row.level.temperature());
    let median = row.wall.as_ref().map(|wall| wall.median_us);
    html! {
        g class="halo" {
            text x="0" y=(top + TEXT) {
                tspan class="strong" { (row.level.explanation()) }
                tspan class="muted" dx="8" { "n = " (row.accepted) @if let Some(us) = median { " · median " (units::duration(us)) } }
            }
            @for us in walls {
                circle class=(format!("point {class}")) cx=(percent(axis.at(as_f64(*us)))) cy=(top + MIDDLE) r="4" {}
            }
            @if let Some(us) = median {
                @let at = percent(axis.at(us));
                line class=(format!("median {class}")) x1=(at) x2=(at) y1=(top + MIDDLE - 9.0) y2=(top + MIDDLE + 9.0) {}
            }
        }
    }
}
