//! What happens when somebody else fills the file system: room is made or the refusal is clear, and nothing is damaged.

use hybrid_cache_sizing::proof::FullStep;

use crate::error::TrialError;
use crate::prove::ground::Ground;
use crate::prove::keeper::{Answer, End, Keeper};
use crate::prove::slice::{Made, Slice};

/// Requests in each step.
const REQUESTS: usize = 6;
/// The part of the room that is left free in the first step: a fiftieth.
const LEFT: u64 = 50;
/// Numbers of tenants that no slice has.
const NEW_TENANTS: u32 = 1000;

/// Fills the file system nearly, then wholly, then clears it, and asks for environments each time.
///
/// # Errors
/// The file system cannot be filled, or the runner does not answer.
pub async fn try_all(slice: &Slice, ground: &Ground, store: &dyn Keeper) -> Result<Vec<FullStep>, TrialError> {
    let mut asking = Asking {
        slice,
        store,
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
    Ok(vec![nearly, wholly, cleared])
}

/// Asks for environments that are not there.
struct Asking<'a> {
    slice: &'a Slice,
    store: &'a dyn Keeper,
    tenant: u32,
}

impl Asking<'_> {
    async fn step(&mut self, what: &str, ground: &Ground) -> Result<FullStep, TrialError> {
        let mut step = FullStep {
            what: what.to_owned(),
            free_bytes: ground.free()?.bytes,
            ..FullStep::default()
        };
        let mut expected = self.store.environments();
        for made in self.wanted() {
            step.requests += 1;
            match self.store.prepare(&made, false, true).await?.end {
                End::Hit => step.served += 1,
                End::Made { .. } => {
                    step.served += 1;
                    expected += 1;
                }
                End::Refused(failure) => {
                    step.unclear += u64::from(!Answer::is_clearly_full(&failure));
                    let told = failure.to_string();
                    if !step.refused.contains(&told) {
                        step.refused.push(told);
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
        let all = &self.slice.environments;
        let is_gone = |made: &&Made| self.store.published(made).is_err();
        let mut wanted: Vec<Made> = all.iter().filter(is_gone).take(REQUESTS).cloned().collect();
        for made in all.iter().cycle().take(REQUESTS - wanted.len()) {
            self.tenant += 1;
            wanted.push(Made {
                tenant: self.tenant,
                ..made.clone()
            });
        }
        wanted
    }
}
