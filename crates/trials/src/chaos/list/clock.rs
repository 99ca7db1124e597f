//! Faults of clocks that jump: time stamps in the far past and future on everything whose age matters.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hybrid_cache_model::CacheStatus;

use crate::chaos::dice::Dice;
use crate::chaos::fault::{Fault, Finding, Pledge};
use crate::chaos::fault_caches::FaultCaches;
use crate::chaos::fault_context::FaultContext;
use crate::chaos::leftovers::stamp;
use crate::chaos::stock;
use crate::error::TrialError;
use crate::site::LOCAL;
use crate::volume;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Largest difference from the current time at which a time stamp still counts as now.
const NOW: Duration = Duration::from_secs(300);

/// The faults.
pub const FAULTS: &[Fault] = &[Fault {
    id: "clock-steps",
    promise: Pledge::AnyClock,
    tries: "Leases, requests and leftovers get time stamps decades in the past and future, as after a step of the clock.",
    sites: LOCAL,
    needs: &[],
    work: |field| Box::pin(stepped(field)),
}];

/// A time some years in the past or in the future.
fn far(dice: &mut Dice, ahead: bool) -> SystemTime {
    let days = DAY * u32::try_from(400 + dice.below(9000)).unwrap_or(400);
    match ahead {
        true => SystemTime::now() + days,
        false => SystemTime::now() - days,
    }
}

/// The folder of a version's environment.
fn environment(place: &FaultCaches, number: u32) -> Option<PathBuf> {
    let is_wanted = |lock: &str| stock::locked_number(lock) == Some(number);
    let mut all = volume::environments(&place.volumes.python).into_iter();
    all.find(|folder| fs::read_to_string(folder.join("lock.txt")).is_ok_and(|lock| is_wanted(&lock)))
}

fn lease(place: &FaultCaches, number: u32) -> Result<PathBuf, TrialError> {
    let lacking = || TrialError::Other(format!("version {number} has no environment"));
    Ok(environment(place, number).ok_or_else(lacking)?.join(".lease"))
}

/// The links of the requests that resolve to a version's environment.
fn requests(place: &FaultCaches, number: u32) -> Vec<PathBuf> {
    let Some(folder) = environment(place, number) else {
        return Vec::new();
    };
    let name = folder.file_name().unwrap_or_default().to_owned();
    let leads_there = |path: &Path| fs::read_link(path).is_ok_and(|to| to.file_name() == Some(&name));
    let folders = volume::named(&place.volumes.python, "requests");
    folders
        .iter()
        .flat_map(|folder| volume::find(folder, leads_there))
        .collect()
}

/// Difference between the current time and a file's time stamp.
fn off(path: &Path) -> Duration {
    let stamped = path.symlink_metadata().and_then(|found| found.modified());
    let now = SystemTime::now();
    stamped.map_or(Duration::MAX, |at| {
        now.duration_since(at).unwrap_or_else(|error| error.duration())
    })
}

async fn hits(place: &FaultCaches, number: u32, when: &str, problems: &mut Vec<String>) {
    let status = place.works(number, when, problems).await;
    if let Some(status) = status.filter(|status| *status != CacheStatus::Hit) {
        problems.push(format!("{when}: not a hit: {status:?}"));
    }
}

/// Creates a staging folder as a killed preparation leaves it after handing it out while the clock was ahead.
fn abandoned(place: &FaultCaches, at: SystemTime) -> Result<PathBuf, TrialError> {
    let tenants = volume::named(&place.volumes.python, "requests");
    let tenant = tenants.first().and_then(|requests| requests.parent());
    let tenant = tenant.ok_or_else(|| TrialError::Other("the volume has no tenant".to_owned()))?;
    let folder = tenant.join("staging").join("make-of-a-wrong-clock");
    let failed = || TrialError::io(format!("making {}", folder.display()));
    fs::create_dir_all(&folder).map_err(failed())?;
    for name in [".maker", ".ready"] {
        File::create(folder.join(name)).map_err(failed())?;
        stamp(&folder.join(name), at);
    }
    stamp(&folder, at);
    Ok(folder)
}

async fn stepped(field: &FaultContext) -> Result<Finding, TrialError> {
    let mut dice = field.dice("clock-steps");
    let rounds = field.rounds().div_ceil(5);
    let mut problems = Vec::new();
    for round in 0..rounds {
        let place = field.place("clock")?;
        let first = round * 4;
        for number in first..first + 4 {
            place.good(number).await?;
        }
        one(field, &place, first, &mut dice, &mut problems).await?;
    }
    Ok(Finding {
        tried: format!("{rounds} sets of four environments, with stamps of the past and the future"),
        seen: String::new(),
        held: "hits stayed hits, the least recently used went first, stamps of the future were set right",
        problems,
    })
}

/// Four environments. The first one has been idle for an hour and is evicted first. The others have a use in the future, a use in
/// the past, and a request in the future. Of those, the one with the use in the future was least recently used in the end, and is
/// evicted next.
async fn one(
    field: &FaultContext,
    place: &FaultCaches,
    first: u32,
    dice: &mut Dice,
    problems: &mut Vec<String>,
) -> Result<(), TrialError> {
    let [idle, future, past, asked] = [0, 1, 2, 3].map(|offset| first + offset);
    stamp(&lease(place, idle)?, SystemTime::now() - Duration::from_secs(3600));
    stamp(&lease(place, future)?, far(dice, true));
    stamp(&lease(place, past)?, far(dice, false));
    for request in requests(place, asked) {
        stamp(&request, far(dice, true));
    }
    let left = abandoned(place, far(dice, true))?;
    place.gc(None).await?;
    if left.exists() {
        problems.push("a staging folder of the future was not swept".to_owned());
    }
    hits(place, future, "used in the future", problems).await;
    hits(place, past, "used in the past", problems).await;
    hits(place, asked, "asked for in the future", problems).await;
    for (number, when) in [(future, "future"), (past, "past")] {
        let off = off(&lease(place, number)?);
        if off > NOW {
            let days = off.as_secs() / DAY.as_secs();
            problems.push(format!("a lease of the {when} was used and is still {days} days off"));
        }
    }
    // Two minutes pass, in which the others are used again.
    stamp(&lease(place, future)?, SystemTime::now() - Duration::from_secs(120));
    for number in [past, asked] {
        stamp(&lease(place, number)?, SystemTime::now());
    }
    if field.makes_damage() {
        let evicted = lease(place, past)?;
        let folder = evicted.parent().unwrap_or(&evicted);
        fs::remove_dir_all(folder).map_err(TrialError::io("deleting an environment"))?;
    }
    evict_down_to(place, 3).await?;
    left_are(place, &[future, past, asked], "after the first eviction", problems);
    evict_down_to(place, 2).await?;
    left_are(place, &[past, asked], "after the second eviction", problems);
    // A request with a past time is resolved again; the result must be right.
    for request in requests(place, asked) {
        stamp(&request, far(dice, false));
    }
    place.works(asked, "asked for in the past", problems).await;
    Ok(())
}

/// Evicts until at most `most` environments are left, in steps smaller than one environment.
async fn evict_down_to(place: &FaultCaches, most: usize) -> Result<(), TrialError> {
    let bytes = place.usage().await?.volume_bytes("python");
    for step in 1..40 {
        if volume::environments(&place.volumes.python).len() <= most {
            break;
        }
        place.gc(Some(bytes - bytes * step / 40)).await?;
    }
    Ok(())
}

fn left_are(place: &FaultCaches, wanted: &[u32], when: &str, problems: &mut Vec<String>) {
    let there = volume::environments(&place.volumes.python).len();
    let missing: Vec<&u32> = wanted
        .iter()
        .filter(|number| environment(place, **number).is_none())
        .collect();
    if there != wanted.len() || !missing.is_empty() {
        problems.push(format!(
            "{when} {there} environments are left, without {missing:?} of {wanted:?}"
        ));
    }
}
