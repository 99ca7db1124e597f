//! The effect of placement in a fleet, as rows.

use hybrid_cache_sizing::Volume;
use hybrid_cache_sizing::fleet::{FleetAdvice, Placed, Placement};

use super::section::{Rows, Section};
use crate::units;

/// The part of the report.
pub(super) fn section(fleets: &[FleetAdvice]) -> Section {
    let worth: Vec<String> = fleets.iter().filter_map(worth).collect();
    Section {
        id: "fleet",
        title: "Fleet",
        lead: worth.join("; "),
        tables: fleets.iter().map(rows).collect(),
        notes: vec![
            "a simulation, counted after its first half: nodes do not fail, and preparing an environment takes no time"
                .to_owned(),
            "load is tasks of the last minute; if nodes have less than one each, the highest load is in tasks"
                .to_owned(),
        ],
    }
}

fn placed(advice: &FleetAdvice, placement: Placement) -> Option<&Placed> {
    advice.placed.iter().find(|placed| placed.placement == placement)
}

/// The benefit of sending tasks to the nodes that have their environment.
fn worth(advice: &FleetAdvice) -> Option<String> {
    let (near, random) = (placed(advice, Placement::Affinity)?, placed(advice, Placement::Random)?);
    Some(format!(
        "{}: sending tasks to the nodes that have their environment gives {} hits instead of {}, keeps {} on disk instead of {}, and \
         fetches {} for a thousand tasks instead of {}",
        advice.volume.name(),
        units::share(near.hit_rate),
        units::share(random.hit_rate),
        units::bytes(near.held_bytes),
        units::bytes(random.held_bytes),
        fetched(near),
        fetched(random)
    ))
}

fn fetched(placed: &Placed) -> String {
    units::bytes(format!("{:.0}", placed.fetched_per_1000_bytes).parse().unwrap_or(0))
}

/// The size of each node's claim, as `up --volume-sets` takes it.
fn each_claim(advice: &FleetAdvice, gib: u64) -> String {
    let (option, nodes) = match advice.volume {
        Volume::Python => ("--python-size", advice.fleet.nodes),
        Volume::System => ("--system-size", advice.fleet.nodes),
    };
    format!(
        "{nodes} volume sets reach the target of hits with {gib} GiB on the {} volume of each: `cargo xtask up --volume-sets {nodes} \
         {option} {gib}Gi`",
        advice.volume.name()
    )
}

fn rows(advice: &FleetAdvice) -> Rows {
    let fleet = &advice.fleet;
    let row = |placed: &Placed| {
        vec![
            placed.placement.name().to_owned(),
            units::share(placed.hit_rate),
            units::bytes(placed.held_bytes),
            fetched(placed),
            format!("{:.1}", placed.evicted_per_1000),
            placed.most_load.map_or("–".to_owned(), units::ratio),
            units::count(placed.tasks),
        ]
    };
    let each = if fleet.tasks_per_request > 1 {
        format!(
            ", {} tasks with each request of the trace",
            units::count(fleet.tasks_per_request)
        )
    } else {
        String::new()
    };
    Rows {
        headline: format!(
            "{} nodes with {} of environments each on the {} volume, {:.0} hours of the trace{each}",
            units::count(fleet.nodes as u64),
            units::bytes(fleet.budget.bytes),
            advice.volume.name(),
            advice.hours
        ),
        columns: vec![
            "tasks go",
            "hit rate",
            "on disk, all nodes",
            "fetched / 1000 tasks",
            "evicted / 1000 tasks",
            "highest load / mean",
            "tasks played",
        ],
        rows: advice.placed.iter().map(row).collect(),
        sentences: advice
            .claim_gib
            .map(|gib| each_claim(advice, gib))
            .into_iter()
            .collect(),
    }
}
