//! Faults of power cuts at any moment of a preparation: data that was not written to the disk is lost.

use std::fs;
use std::time::{Duration, Instant};

use hybrid_cache_model::CacheStatus;
use rustix::process::Signal;
use serde_json::json;

use crate::chaos::disk::{self, Mounted};
use crate::chaos::fault::{Fault, Finding, Pledge};
use crate::chaos::fault_caches::FaultCaches;
use crate::chaos::fault_context::FaultContext;
use crate::chaos::fault_need::FaultNeed;
use crate::chaos::victim;
use crate::chaos::{judge, stock};
use crate::error::TrialError;
use crate::site::LOCAL;

/// Size of the file system, in bytes.
const BYTES: u64 = 192 << 20;
/// Mount options of ext4, from the default to those with the weakest guarantees after a power cut.
const OPTIONS: [&str; 4] = [
    "defaults",
    "commit=1",
    "noauto_da_alloc",
    "commit=1,data=writeback,noauto_da_alloc",
];
/// Number of rounds after which everything is evicted.
const FRESH_AFTER: u32 = 20;

/// The faults.
pub const FAULTS: &[Fault] = &[Fault {
    id: "power-cut",
    promise: Pledge::SyncedFirst,
    tries: "An ext4 file system is copied away at random moments of preparations, without what was not synced, and mounted.",
    sites: LOCAL,
    needs: &[FaultNeed::Loop],
    work: |field| Box::pin(cut(field)),
}];

/// Stops every process of a preparation, so that the disk becomes quiet without a sync.
fn hold(place: &FaultCaches) -> Vec<victim::Process> {
    let mut held: Vec<victim::Process> = Vec::new();
    // Stop processes that were started meanwhile too; a stopped process starts none.
    for _ in 0..10 {
        let found = victim::preparation(&place.volumes.python);
        let new: Vec<_> = found.into_iter().filter(|one| !held.contains(one)).collect();
        if new.is_empty() {
            break;
        }
        for one in new {
            one.signal(Signal::STOP);
            held.push(one);
        }
    }
    held
}

/// Prepares a version and cuts the power this long after the request.
async fn prepared_and_cut(
    place: &FaultCaches,
    number: u32,
    after: Duration,
    mounted: &Mounted,
    copy: &std::path::Path,
) -> Result<bool, TrialError> {
    let ticket = place.caches.submit(&place.task(number)?, &json!({})).await?;
    // On a busy machine a preparation can begin and end without being seen; then there is nothing to stop.
    let _ = victim::begun(&place.volumes.python).await;
    tokio::time::sleep(after).await;
    let held = hold(place);
    let cut = mounted.cut(copy).await;
    for one in &held {
        one.signal(Signal::CONT);
    }
    let ran = place
        .caches
        .finish(&ticket)
        .await?
        .good("is prepared during a power cut")?;
    place.caches.driver.forget(&ticket);
    if ran.stdout.trim() != stock::printed(number) {
        return Err(TrialError::Other(format!("version {number} printed {:?}", ran.stdout)));
    }
    cut?;
    Ok(!held.is_empty())
}

async fn cut(field: &FaultContext) -> Result<Finding, TrialError> {
    let mut dice = field.dice("power-cut");
    let folder = field.new_folder("power")?;
    let image = folder.join("disk.img");
    let options = *dice.pick(&OPTIONS).unwrap_or(&OPTIONS[0]);
    disk::make_image(&image, BYTES).await?;
    let mounted = disk::attach(&image, &folder.join("disk"), options).await?;
    let place = field.place_in(&mounted.at().join("caches"))?;
    place.good(0).await?;
    let began = Instant::now();
    place.good(1).await?;
    let whole = began.elapsed();
    let (mut at_work, mut kept, mut missed, mut problems) = (0, 0, 0, Vec::new());
    for number in 2..2 + field.rounds() {
        // Sometimes cut after the preparation's end: what was published by then must be complete too.
        let after = dice.within(whole * 5 / 4);
        let copy = folder.join("copy.img");
        at_work += u32::from(prepared_and_cut(&place, number, after, &mounted, &copy).await?);
        let after_cut = disk::attach(&copy, &folder.join("copy"), options).await?;
        let there = field.place_in(&after_cut.at().join("caches"))?;
        if field.makes_damage() {
            judge::damage(&there)?;
        }
        problems.extend(judge::environments(&there).await?);
        match there.works(number, "after a power cut", &mut problems).await {
            Some(CacheStatus::Hit) => kept += 1,
            Some(_) => missed += 1,
            None => {}
        }
        let again = there
            .works(number, "the second run after a power cut", &mut problems)
            .await;
        if let Some(status) = again.filter(|status| *status != CacheStatus::Hit) {
            problems.push(format!("the second run after a power cut did not hit: {status:?}"));
        }
        drop(there);
        after_cut.unmount().await?;
        fs::remove_file(&copy).map_err(TrialError::io("deleting the copy"))?;
        if number % FRESH_AFTER == 0 {
            place.evict().await?;
        }
    }
    drop(place);
    mounted.unmount().await?;
    Ok(Finding {
        tried: format!(
            "{} power cuts, {at_work} of them during a preparation, on ext4 with {options}",
            field.rounds()
        ),
        seen: format!("after {kept} the environment was whole, after {missed} it missed"),
        held: "what missed was built again",
        problems,
    })
}
