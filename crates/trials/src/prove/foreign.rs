//! What happens when another user fills the file system: eviction makes room or the refusal is clear, and nothing is damaged.

use hybrid_cache_sizing::proof::FullStep;

use crate::error::TrialError;
use crate::prove::keeper::{Answer, End, Keeper};
use crate::prove::mounted_volume::MountedVolume;
use crate::prove::slice::{Made, Slice};

/// The part of the room that is left free in the first step: a fiftieth.
const LEFT: u64 = 50;
/// Numbers of tenants that no slice has.
const NEW_TENANTS: u32 = 1000;

/// Fills the file system nearly, then wholly, then clears it, and asks for environments each time. Nothing of it is reported once
/// `is_over` says that there is no time left: half of it would look like a refusal.
///
/// # Errors
/// The file system cannot be filled, or the runner does not answer.
pub async fn try_all(
    slice: &Slice,
    ground: &MountedVolume,
    store: &dyn Keeper,
    is_over: &dyn Fn() -> bool,
) -> Result<Vec<FullStep>, TrialError> {
    let mut asking = Asking {
        slice,
        store,
        is_over,
        tenant: NEW_TENANTS,
    };
    ground.fill(ground.room.bytes / LEFT)?;
    let nearly = asking.step("others fill it up to 98 %", ground).await?;
    ground.fill(0)?;
    let wholly = asking.step("others fill it up to 100 %", ground).await?;
    ground.clear()?;
    let mut cleared = asking.step("others are gone again", ground).await?;
    // Now there is no reason left to refuse anything.
    cleared.unclear = cleared.requests - cleared.served;
    Ok(if is_over() {
        Vec::new()
    } else {
        vec![nearly, wholly, cleared]
    })
}

/// Asks for environments that are not there.
struct Asking<'a> {
    slice: &'a Slice,
    store: &'a dyn Keeper,
    is_over: &'a dyn Fn() -> bool,
    tenant: u32,
}

impl Asking<'_> {
    async fn step(&mut self, what: &str, ground: &MountedVolume) -> Result<FullStep, TrialError> {
        let mut step = FullStep {
            what: what.to_owned(),
            free_bytes: ground.free()?.bytes,
            ..FullStep::default()
        };
        let mut expected = self.store.environments();
        for made in self.wanted() {
            if (self.is_over)() {
                return Ok(step);
            }
            step.requests += 1;
            match self.store.prepare(&made, false, true).await?.end {
                End::Hit => step.served += 1,
                End::Made { .. } => {
                    step.served += 1;
                    expected += 1;
                }
                End::Refused(failure) => {
                    step.unclear += u64::from(!Answer::is_clearly_full(&failure));
                    let reason = failure.to_string();
                    if !step.refused.contains(&reason) {
                        step.refused.push(reason);
                    }
                }
            }
        }
        step.evicted = expected.saturating_sub(self.store.environments());
        let found = self.store.verify().await?;
        step.problems = found
            .problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.path, problem.what))
            .collect();
        Ok(step)
    }

    /// Environments of the slice that were evicted, and the same ones for tenants that are new where those are too few.
    fn wanted(&mut self) -> Vec<Made> {
        let (all, requests) = (&self.slice.environments, self.store.on_full());
        let is_gone = |made: &&Made| self.store.published(made).is_err();
        let mut wanted: Vec<Made> = all.iter().filter(is_gone).take(requests).cloned().collect();
        for made in all.iter().cycle().take(requests - wanted.len()) {
            self.tenant += 1;
            wanted.push(Made {
                tenant: self.tenant,
                ..made.clone()
            });
        }
        wanted
    }
}
