//! Faults of file systems without free bytes or inodes.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::{CacheStatus, End};

use crate::caches::Ran;
use crate::chaos::disk::{self, Mounted};
use crate::chaos::fault::{Fault, Finding, Pledge};
use crate::chaos::fault_context::FaultContext;
use crate::chaos::fault_need::FaultNeed;
use crate::chaos::{judge, stock};
use crate::error::TrialError;
use crate::site::LOCAL;

/// Size of the file system, in bytes and inodes.
const BYTES: u64 = 96 << 20;
const INODES: u64 = 8000;
/// Largest free space that is left: less than one environment needs.
const LEFT_BYTES: u64 = 600_000;
const LEFT_INODES: u64 = 100;

/// The faults.
pub const FAULTS: &[Fault] = &[
    Fault {
        id: "disk-full",
        promise: Pledge::FullIsReported,
        tries: "Cold tasks are run while the cache's file system has a random rest of bytes free.",
        sites: LOCAL,
        needs: &[FaultNeed::Mounts],
        work: |field| Box::pin(full(field, Lack::Bytes)),
    },
    Fault {
        id: "inodes-full",
        promise: Pledge::FullIsReported,
        tries: "The same with a random rest of inodes.",
        sites: LOCAL,
        needs: &[FaultNeed::Mounts],
        work: |field| Box::pin(full(field, Lack::Inodes)),
    },
];

/// Which resource runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Bytes,
    Inodes,
}

impl Lack {
    /// Fills a file system until at most `rest` is free. Returns the folder that holds the filling.
    fn fill(self, mounted: &Mounted, rest: u64) -> Result<PathBuf, TrialError> {
        let folder = mounted.at().join("ballast");
        let failed = || TrialError::io("filling the file system");
        fs::create_dir(&folder).map_err(failed())?;
        match self {
            Lack::Bytes => {
                let mut file = File::create(folder.join("file")).map_err(failed())?;
                let mut left = mounted.free()?.bytes.saturating_sub(rest);
                let block = vec![1; 1 << 16];
                while left > 0 {
                    let wanted = usize::try_from(left).unwrap_or(block.len()).min(block.len());
                    file.write_all(&block[..wanted]).map_err(failed())?;
                    left -= wanted as u64;
                }
            }
            Lack::Inodes => {
                for number in 0..mounted.free()?.inodes.saturating_sub(rest) {
                    File::create(folder.join(number.to_string())).map_err(failed())?;
                }
            }
        }
        Ok(folder)
    }

    fn most(self) -> u64 {
        match self {
            Lack::Bytes => LEFT_BYTES,
            Lack::Inodes => LEFT_INODES,
        }
    }
}

/// The problem with the end of a task on a full disk; `None` if there is none.
fn judged(ran: &Ran, number: u32) -> Option<String> {
    match &ran.outcome.end {
        End::Failed { failure } if failure.kind == FailureKind::DiskFull => None,
        // An eviction may have freed the space that the task needed.
        End::Exited { code: 0 } if ran.stdout.trim() == stock::printed(number) => None,
        end => Some(format!("a task on a full disk ended as {end:?}: {}", ran.stderr)),
    }
}

async fn full(field: &FaultContext, lack: Lack) -> Result<Finding, TrialError> {
    let mut dice = field.dice(&format!("{lack:?}"));
    let root = field.new_folder("full")?;
    let mounted = disk::in_memory(&root, BYTES, INODES)?;
    let place = field.place_in(&root.join("caches"))?;
    let (mut refused, mut problems) = (0, Vec::new());
    for number in 1..=field.rounds() {
        // In half of the rounds there is nothing to evict either.
        if number % 2 == 1 {
            place.evict().await?;
        }
        let ballast = lack.fill(&mounted, dice.below(lack.most()))?;
        let ran = place.caches.run(&place.task(number)?).await?;
        refused += u32::from(matches!(ran.outcome.end, End::Failed { .. }));
        problems.extend(judged(&ran, number));
        // Verifying writes nothing, but creating its sandbox is safer with free space.
        fs::remove_dir_all(&ballast).map_err(TrialError::io("making room"))?;
        problems.extend(judge::environments(&place).await?);
        place.works(number, "once there is room", &mut problems).await;
        let again = place.works(number, "the second run with room", &mut problems).await;
        if let Some(status) = again.filter(|status| *status != CacheStatus::Hit) {
            problems.push(format!("the second run with room did not hit: {status:?}"));
        }
        if field.makes_damage() {
            judge::damage(&place)?;
            problems.extend(judge::environments(&place).await?);
        }
    }
    drop(place);
    mounted.unmount().await?;
    Ok(Finding {
        tried: format!(
            "{} cold tasks with less than {} {} free",
            field.rounds(),
            lack.most(),
            format!("{lack:?}").to_lowercase()
        ),
        seen: format!("{refused} failed, {} found room by eviction", field.rounds() - refused),
        held: "every failure named the full disk, and all worked afterwards",
        problems,
    })
}
