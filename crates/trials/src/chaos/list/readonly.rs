//! A fault of a file system that becomes read-only, as Linux does after a disk error.

use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::{CacheStatus, End};

use crate::chaos::disk;
use crate::chaos::fault::{Fault, Finding, Pledge};
use crate::chaos::fault_context::FaultContext;
use crate::chaos::fault_need::FaultNeed;
use crate::chaos::judge;
use crate::error::TrialError;
use crate::site::LOCAL;

/// Size of the file system, in bytes and inodes.
const BYTES: u64 = 96 << 20;
const INODES: u64 = 20_000;

/// The faults.
pub const FAULTS: &[Fault] = &[Fault {
    id: "read-only-remount",
    promise: Pledge::ReadOnlyServes,
    tries: "The cache's file system is remounted read-only between tasks, and writable again.",
    sites: LOCAL,
    needs: &[FaultNeed::Mounts],
    work: |field| Box::pin(remounted(field)),
}];

async fn remounted(field: &FaultContext) -> Result<Finding, TrialError> {
    let root = field.new_folder("read-only")?;
    let mounted = disk::in_memory(&root, BYTES, INODES)?;
    let place = field.place_in(&root.join("caches"))?;
    place.good(0).await?;
    if field.makes_damage() {
        judge::damage(&place)?;
    }
    let mut problems = Vec::new();
    // More rounds show nothing new, and the file system's space must suffice.
    let rounds = field.rounds().min(10);
    for number in 1..=rounds {
        mounted.read_only(true).await?;
        let hit = place
            .works(0, "a cached task on a read-only cache", &mut problems)
            .await;
        if let Some(status) = hit.filter(|status| *status != CacheStatus::Hit) {
            problems.push(format!("a cached task on a read-only cache did not hit: {status:?}"));
        }
        match place.reopened() {
            Ok(other) => {
                other
                    .works(0, "a driver opened on a read-only cache", &mut problems)
                    .await;
            }
            Err(error) => problems.push(format!("a driver cannot be opened on a read-only cache: {error}")),
        }
        let cold = place.caches.run(&place.task(number)?).await?;
        match &cold.outcome.end {
            End::Failed { failure } if failure.kind == FailureKind::CacheAccess => {}
            end => problems.push(format!(
                "a cold task on a read-only cache ended as {end:?}: {}",
                cold.stderr
            )),
        }
        mounted.read_only(false).await?;
        place.works(number, "once it can be written", &mut problems).await;
        problems.extend(judge::environments(&place).await?);
    }
    drop(place);
    mounted.unmount().await?;
    Ok(Finding {
        tried: format!("{rounds} remounts, each with two cached tasks and a cold one"),
        seen: String::new(),
        held: "cached tasks hit, cold ones failed as not writable, and worked afterwards",
        problems,
    })
}
