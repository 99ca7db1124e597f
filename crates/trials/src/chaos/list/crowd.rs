//! Faults of many tasks that request the same missing environment at once.

use std::time::Instant;

use hybrid_cache_model::CacheStatus;
use serde_json::json;

use crate::chaos::fault::{Fault, Finding, Pledge};
use crate::chaos::fault_caches::FaultCaches;
use crate::chaos::fault_context::FaultContext;
use crate::chaos::{judge, stock};
use crate::error::TrialError;
use crate::site::LOCAL;
use crate::volume;

/// Tasks at one time.
const TASKS: usize = 32;
/// Number of drivers, used as if they were separate processes.
const DRIVERS: usize = 4;

/// The faults.
pub const FAULTS: &[Fault] = &[Fault {
    id: "crowd-on-a-cold-environment",
    promise: Pledge::OneBuild,
    tries: "32 tasks of four drivers ask at once for an environment that is not there.",
    sites: LOCAL,
    needs: &[],
    work: |field| Box::pin(crowd(field)),
}];

/// Runs that many tasks at once. Returns how many reported a build, and the problems.
async fn at_once(
    drivers: &[FaultCaches],
    number: u32,
    tasks: usize,
    problems: &mut Vec<String>,
) -> Result<usize, TrialError> {
    let spec = drivers[0].task(number)?;
    let mut tickets = Vec::new();
    for (place, _) in drivers.iter().cycle().zip(0..tasks) {
        tickets.push((place, place.caches.submit(&spec, &json!({})).await?));
    }
    let mut built = 0;
    for (place, ticket) in tickets {
        let ran = place.caches.finish(&ticket).await?;
        place.caches.driver.forget(&ticket);
        built += usize::from(matches!(ran.outcome.cache.python, CacheStatus::Built { .. }));
        if !ran.outcome.end.is_success() || ran.stdout.trim() != stock::printed(number) {
            problems.push(format!(
                "one of the crowd ended as {:?}: {}",
                ran.outcome.end, ran.stderr
            ));
        }
    }
    Ok(built)
}

async fn crowd(field: &FaultContext) -> Result<Finding, TrialError> {
    let place = field.place("crowd")?;
    let drivers = (0..DRIVERS).map(|_| place.reopened()).collect::<Result<Vec<_>, _>>()?;
    place.good(0).await?;
    let began = Instant::now();
    place.good(1).await?;
    let alone = began.elapsed();
    let rounds = field.rounds().div_ceil(5);
    let (mut problems, mut slowest) = (Vec::new(), 0.0_f64);
    for number in 2..2 + rounds {
        let began = Instant::now();
        let mut built = at_once(&drivers, number, TASKS, &mut problems).await?;
        slowest = slowest.max(began.elapsed().as_secs_f64() / alone.as_secs_f64());
        if field.makes_damage() {
            place.evict().await?;
            built += at_once(&drivers, number, 1, &mut problems).await?;
        }
        if built != 1 {
            problems.push(format!("{built} of the crowd built the environment instead of one"));
        }
        problems.extend(judge::environments(&place).await?);
    }
    let environments = volume::environments(&place.volumes.python).len();
    Ok(Finding {
        tried: format!("{rounds} times {TASKS} tasks at once"),
        seen: format!("{environments} environments; until the last one ended at most {slowest:.1} times one alone"),
        held: "one build each",
        problems,
    })
}
