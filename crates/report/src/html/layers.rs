//! What the caches hold after each scenario: bytes, inodes and directory entries by layer.

use hybrid_cache_model::sample::{LayerUsage, RunRecord, ScenarioUsage};
use maud::{Markup, html};

use super::axis::percent;
use crate::stats::as_f64;
use crate::summary::holds_something;
use crate::units;

/// One table for each scenario, its bars on one scale over all scenarios; empty if nothing was counted.
pub(super) fn section(record: &RunRecord) -> Markup {
    let layers = || record.usage.iter().flat_map(|usage| &usage.layers);
    let most = Most {
        bytes: layers().map(|layer| layer.bytes).max().unwrap_or(0),
        inodes: layers().map(|layer| layer.inodes).max().unwrap_or(0),
        entries: layers().map(|layer| layer.entries).max().unwrap_or(0),
    };
    html! {
        @if !record.usage.is_empty() {
            section id="volumes" aria-labelledby="volumes-heading" {
                h2 id="volumes-heading" { "What the caches hold" }
                p {
                    "Disk use after the first run of each scenario in an empty cache. Bytes are disk blocks; an inode counts \
                     once however many hard links it has, directory entries count each link. Bars share one scale across \
                     scenarios."
                }
                div class="cards" { @for usage in &record.usage { (scenario(usage, &most)) } }
            }
        }
    }
}

/// Full scale of each column.
struct Most {
    bytes: u64,
    inodes: u64,
    entries: u64,
}

fn scenario(usage: &ScenarioUsage, most: &Most) -> Markup {
    let total = |of: fn(&LayerUsage) -> u64| usage.layers.iter().map(of).sum::<u64>();
    html! {
        div class="card" {
            h3 { (units::title(&usage.scenario)) }
            table class="layers" {
                thead { tr {
                    th scope="col" { "Layer" } th scope="col" class="n" { "Bytes" } th scope="col" class="n" { "Inodes" }
                    th scope="col" class="n" { "Entries" }
                } }
                tbody { @for layer in usage.layers.iter().filter(|layer| holds_something(layer)) {
                    tr {
                        th scope="row" { (layer.layer) }
                        (cell(units::bytes(layer.bytes), layer.bytes, most.bytes))
                        (cell(units::count(layer.inodes), layer.inodes, most.inodes))
                        (cell(units::count(layer.entries), layer.entries, most.entries))
                    }
                } }
                tfoot { tr {
                    th scope="row" { "total" }
                    td class="n" { (units::bytes(total(|layer| layer.bytes))) }
                    td class="n" { (units::count(total(|layer| layer.inodes))) }
                    td class="n" { (units::count(total(|layer| layer.entries))) }
                } }
            }
        }
    }
}

fn cell(text: String, value: u64, most: u64) -> Markup {
    let share = if most == 0 { 0.0 } else { as_f64(value) / as_f64(most) };
    html! {
        td class="n" {
            (text)
            svg class="meter" width="100%" height="5" aria-hidden="true" {
                rect class="meter-ground" width="100%" height="5" {}
                rect class="meter-fill" width=(percent(share)) height="5" {}
            }
        }
    }
}
