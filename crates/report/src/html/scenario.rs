//! One scenario's section: why it is measured, its request, every sample, and where the time went.

use hybrid_cache_model::sample::{RunRecord, Sample};
use hybrid_cache_model::{TaskSpec, Temperature};
use hybrid_cache_web::scrolling;
use maud::{Markup, html};

use super::bars::bars;
use super::palette::phase_class;
use super::strip::strip;
use super::waterfall::waterfall;
use super::zoom::zoom;
use crate::cells::{self, counted, ratio};
use crate::headline::headline;
use crate::phases::{self, Attribution, PhaseRow};
use crate::samples::accepted;
use crate::samples::declared;
use crate::stats::{Distribution, as_f64};
use crate::summary::{GroupSummary, ScenarioSummary};
use crate::units;

/// The section of the scenario at that place of the report.
pub(super) fn section(index: usize, record: &RunRecord, scenario: &ScenarioSummary) -> Markup {
    let id = format!("scenario-{index}");
    let samples: Vec<&Sample> = record
        .samples
        .iter()
        .filter(|sample| sample.scenario == scenario.name)
        .collect();
    let declared = declared(record, &scenario.name);
    let text = headline(scenario);
    let rest = text.split_once(": ").map_or(text.as_str(), |(_, rest)| rest);
    html! {
        section class="scenario" id=(id) aria-labelledby=(format!("{id}-heading")) {
            h2 id=(format!("{id}-heading")) { (units::title(&scenario.name)) }
            p class="headline" { (rest) }
            @if let Some(declared) = declared {
                p { (declared.why.trim()) }
                (request(&declared.request))
            }
            h3 { "Every sample" }
            (strip(&id, scenario, &samples))
            @for group in &scenario.groups { (zoom(&id, group, &samples)) }
            (latency_table(scenario))
            (time(&id, record, scenario))
        }
    }
}

fn request(request: &TaskSpec) -> Markup {
    let env: Vec<_> = request
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let (args, env) = (request.args.join(" "), env.join("\n"));
    let lists = [
        ("Python packages", request.dependencies.trim()),
        ("requirements file", request.requirements_file.trim()),
        ("constraints", request.constraints.trim()),
        ("Python version", request.python_version.trim()),
        ("System packages", request.system_dependencies.trim()),
        ("Arguments", args.as_str()),
        ("Variables", env.as_str()),
        ("Standard input", request.stdin.trim()),
    ];
    html! {
        div class="request" {
            dl {
                @for (name, value) in lists.iter().filter(|(_, value)| !value.is_empty()) {
                    div { dt { (name) } dd { code { (value) } } }
                }
                @if !request.use_cache { div { dt { "useCache" } dd { code { "false" } } } }
            }
            pre tabindex="0" { code { (request.python_code.trim_end()) } }
        }
    }
}

fn latency_table(scenario: &ScenarioSummary) -> Markup {
    html! {
        (scrolling("Latency", &html! {
            table {
                thead { tr {
                    th scope="col" { "Run" } th scope="col" { "Time" } th scope="col" class="n" { "n" }
                    th scope="col" class="n" { "Median" } th scope="col" class="n" { "Interval" }
                    th scope="col" class="n" { "p90" } th scope="col" class="n" { "p99" } th scope="col" class="n" { "Min–max" }
                } }
                tbody {
                    @for group in &scenario.groups {
                        (latency_row(group, "end-to-end", group.wall.as_ref(), counted(group)))
                        (latency_row(group, "runner", group.runner.as_ref(), group.accepted.to_string()))
                    }
                }
                @if let Some(quotient) = &scenario.ratio {
                    tfoot { tr {
                        th scope="row" colspan="3" { "first / cached, end-to-end" }
                        td class="n" colspan="5" { (ratio(quotient)) }
                    } }
                }
            }
        }))
    }
}

fn latency_row(group: &GroupSummary, clock: &str, distribution: Option<&Distribution>, n: String) -> Markup {
    let [median, interval, p90, range] = cells::distribution(distribution);
    let p99 = distribution
        .and_then(|d| d.p99_us)
        .map_or("–".to_owned(), |us| units::duration(as_f64(us)));
    html! {
        tr {
            th scope="row" { (group.temperature.name()) } td { (clock) } td class="n" { (n) }
            td class="n" { (median) } td class="n" { (interval) } td class="n" { (p90) } td class="n" { (p99) }
            td class="n" { (range) }
        }
    }
}

fn time(id: &str, record: &RunRecord, scenario: &ScenarioSummary) -> Markup {
    let attributed: Vec<(&GroupSummary, &Attribution)> = scenario
        .groups
        .iter()
        .filter_map(|group| Some((group, group.attribution.as_ref()?)))
        .collect();
    // The first run is the one with something to see; without one, the coldest there is.
    let shown = attributed
        .iter()
        .find(|(group, _)| group.temperature == Temperature::First)
        .or(attributed.first());
    let shown =
        shown.and_then(|(group, _)| phases::median_sample(&accepted(record, &scenario.name, group.temperature)));
    html! {
        @if !attributed.is_empty() {
            h3 { "Where the time went" }
            (bars(id, scenario))
            (phase_table(&attributed))
            @for (group, attribution) in &attributed { (beside(group, attribution)) }
        }
        @if let Some(sample) = shown {
            h3 { "Waterfall of the median " (sample.temperature.name()) " run" }
            (waterfall(id, sample))
        }
    }
}

/// What the bars do not hold: work behind them, and work after them.
fn beside(group: &GroupSummary, attribution: &Attribution) -> Markup {
    html! {
        @if attribution.hidden_us > 0.0 || attribution.background_us > 0.0 {
            p class="small" {
                "Not in the " (group.temperature.name()) " bar, because no client waits for it: "
                @if attribution.hidden_us > 0.0 {
                    (units::duration(attribution.hidden_us)) " of work in parallel with what is shown"
                }
                @if attribution.hidden_us > 0.0 && attribution.background_us > 0.0 { ", and " }
                @if attribution.background_us > 0.0 {
                    (units::duration(attribution.background_us)) " of publishing after the answer"
                }
                " (medians)."
            }
        }
    }
}

fn phase_table(attributed: &[(&GroupSummary, &Attribution)]) -> Markup {
    html! {
        (scrolling("Phases", &html! {
            table class="phases" {
                thead {
                    tr {
                        th scope="col" rowspan="2" { "Phase" }
                        @for (group, attribution) in attributed {
                            th scope="colgroup" colspan="3" class="n group" { (group.temperature.name()) " #" (attribution.sequence) }
                        }
                    }
                    tr { @for _ in attributed {
                        th scope="col" class="n group" { "Time" } th scope="col" class="n" { "Share" }
                        th scope="col" class="n" { "Median of all" }
                    } }
                }
                tbody { @for phase in phases_shown(attributed) {
                    tr {
                        th scope="row" {
                            svg class="swatch" width="14" height="14" aria-hidden="true" {
                                rect class=(phase_class(phase)) width="14" height="14" rx="2" {}
                            }
                            (phases::label(phase))
                        }
                        @for (_, attribution) in attributed {
                            (phase_cells(attribution.rows.iter().find(|row| row.phase == phase)))
                        }
                    }
                } }
                tfoot { tr {
                    th scope="row" { "total" }
                    @for (_, attribution) in attributed {
                        td class="n group" { (units::duration(as_f64(attribution.total_us))) }
                        td class="n" { "100 %" }
                        td {}
                    }
                } }
            }
        }))
    }
}

fn phase_cells(row: Option<&PhaseRow>) -> Markup {
    html! {
        @match row {
            Some(row) => {
                td class="n group" { (units::duration(as_f64(row.bar_us))) } td class="n" { (units::share(row.share)) }
                td class="n muted" { (units::duration(row.median_us)) }
            }
            None => { td class="n group muted" { "–" } td class="n muted" { "–" } td class="n muted" { "–" } }
        }
    }
}

/// Phases of any group in report order, unattributed last.
fn phases_shown(attributed: &[(&GroupSummary, &Attribution)]) -> Vec<Option<hybrid_cache_model::Phase>> {
    let all = hybrid_cache_model::Phase::ALL.into_iter().map(Some).chain([None]);
    let shown = |phase: &Option<_>| {
        attributed
            .iter()
            .any(|(_, a)| a.rows.iter().any(|row| row.phase == *phase))
    };
    all.filter(shown).collect()
}
