//! Computes the benefit of sending tasks to the nodes that have their environment, for each volume of a trace.

use hybrid_cache_sizing::claim::default_budget;
use hybrid_cache_sizing::fleet::{Fleet, FleetAdvice, compare, rate, smallest_claim};
use hybrid_cache_sizing::recommend::Advice;
use hybrid_cache_sizing::trace::TraceError;
use hybrid_cache_sizing::{Recommendation, Source, Weight};
use hybrid_cache_tools::{Error, Result};

/// Most nodes for which the smallest claim of each is computed: as many as a cluster has volume sets.
const MOST_SETS: u32 = 64;

/// A fleet to simulate.
#[derive(Clone, Copy, Debug)]
pub struct FleetOptions {
    /// Number of nodes, each with its own volume.
    pub nodes: u32,
    /// Bytes of each node's claim; `None` means the recommended size.
    pub claim_bytes: Option<u64>,
    /// Tasks of the whole fleet in an hour; `None` means as many as the trace has requests.
    pub tasks_per_hour: Option<u64>,
}

/// Simulates the fleet for each volume that the trace uses.
///
/// # Errors
/// The trace cannot be read again, or a node's claim does not hold the largest environment.
pub fn compare_fleet(options: &FleetOptions, source: &dyn Source, found: &Recommendation) -> Result<Vec<FleetAdvice>> {
    let unreadable = |error: TraceError| Error::input(error.to_string());
    let mut all = Vec::new();
    for advice in &found.volumes {
        let (requests, hours) = rate(source, advice.volume).map_err(unreadable)?;
        // This volume gets the same share of the fleet's tasks as in the trace.
        let share = requests as f64 / found.requests.max(1) as f64;
        let tasks_per_hour = options.tasks_per_hour.map(|rate| rate as f64 * share);
        let budget = budget(options, found, advice)?;
        let fleet = Fleet::at_rate(options.nodes as usize, budget, (requests, hours), tasks_per_hour);
        let mut compared = compare(source, advice.volume, &fleet).map_err(unreadable)?;
        if let Some(compared) = &mut compared
            && options.nodes <= MOST_SETS
        {
            let budget = |gib: u64| budget_of(gib << 30, found, advice).ok();
            let (fleet, wanted) = ((advice.volume, &fleet), (found.targets.hit, advice.claim.gib));
            compared.claim_gib = smallest_claim(source, fleet, wanted, budget).map_err(unreadable)?;
        }
        all.extend(compared);
    }
    Ok(all)
}

/// Bytes that environments may use on a node's volume.
fn budget(options: &FleetOptions, found: &Recommendation, advice: &Advice) -> Result<Weight> {
    budget_of(options.claim_bytes.unwrap_or(advice.claim.gib << 30), found, advice)
}

/// Bytes that environments may use on a claim of so many bytes.
fn budget_of(bytes: u64, found: &Recommendation, advice: &Advice) -> Result<Weight> {
    let file_system = found.targets.file_system;
    let room = file_system.room_of(bytes);
    let budget = default_budget(room).saturating_sub(advice.rest);
    if budget.bytes < advice.largest.bytes {
        return Err(Error::input(format!(
            "a claim of {bytes} bytes does not hold the largest environment of the {} volume ({} bytes)\nhint: give more with --fleet-size",
            advice.volume.name(),
            advice.largest.bytes
        )));
    }
    Ok(budget)
}
