//! `cargo xtask size --fleet`: what placement is worth.

use anyhow::Result;
use hybrid_cache_sizing::claim::default_budget;
use hybrid_cache_sizing::fleet::{Fleet, FleetAdvice, compare, rate};
use hybrid_cache_sizing::recommend::Advice;
use hybrid_cache_sizing::{Recommendation, Source, Weight};

use crate::exit::Expected;
use crate::flags;

/// Simulates the fleet for each volume that the trace uses.
///
/// # Errors
/// The trace cannot be read again, or a node's claim holds nothing.
pub fn run(flags: &flags::Size, nodes: u32, source: &dyn Source, found: &Recommendation) -> Result<Vec<FleetAdvice>> {
    let failed = |error: hybrid_cache_sizing::trace::TraceError| Expected::usage(error.to_string());
    let mut all = Vec::new();
    for advice in &found.volumes {
        let (requests, hours) = rate(source, advice.volume).map_err(failed)?;
        // Of the fleet's tasks, this volume gets the same share as in the trace.
        let share = requests as f64 / found.requests.max(1) as f64;
        let tasks_per_hour = flags.fleet_rate.map(|rate| rate as f64 * share);
        let nodes = nodes as usize;
        let fleet = Fleet::at_rate(nodes, budget(flags, found, advice)?, (requests, hours), tasks_per_hour);
        all.extend(compare(source, advice.volume, &fleet).map_err(failed)?);
    }
    Ok(all)
}

/// What environments may take of a node's volume.
fn budget(flags: &flags::Size, found: &Recommendation, advice: &Advice) -> Result<Weight> {
    let file_system = found.targets.file_system;
    let bytes = flags.fleet_size.unwrap_or(advice.claim.gib << 30);
    let room = file_system.room_of(bytes);
    let budget = default_budget(room).saturating_sub(advice.rest);
    if budget.bytes < advice.largest.bytes {
        return Err(Expected::usage(format!(
            "a claim of {bytes} bytes does not hold the largest environment of the {} volume ({} bytes)\nhint: give more with --fleet-size",
            advice.volume.name(),
            advice.largest.bytes
        )));
    }
    Ok(budget)
}
