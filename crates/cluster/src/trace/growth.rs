//! How fast the volumes fill, from what was recorded.

use std::path::Path;

use hybrid_cache_model::maintain::UsageReport;
use hybrid_cache_model::protocol::Budgets;
use hybrid_cache_sizing::pace::{Full, Pace};
use hybrid_cache_sizing::{Source, Volume, Weight};
use hybrid_cache_tools::{Error, ErrorClass, Result};
use serde::Serialize;

use crate::trace::recorded::Recorded;

/// How one volume fills.
#[derive(Clone, Debug, Serialize)]
pub struct VolumeGrowth {
    /// Which one.
    pub volume: Volume,
    /// What new environments add, and how fast they come.
    #[serde(flatten)]
    pub pace: Pace,
    /// Bytes that it may hold before environments are evicted.
    pub budget_bytes: u64,
    /// Inodes likewise; absent if its file system counts none.
    pub budget_inodes: Option<u64>,
    /// When it holds as much at this rate; absent if the trace is too short to tell.
    pub full: Option<Full>,
}

/// How fast both volumes fill; `None` if no requests are recorded in the folder.
///
/// # Errors
/// What was recorded cannot be read.
pub fn growth(usage: &UsageReport, budgets: &Budgets, folder: &Path) -> Result<Option<Vec<VolumeGrowth>>> {
    let Some(recorded) = Recorded::open(folder)? else {
        return Ok(None);
    };
    let each = Volume::ALL
        .into_iter()
        .map(|volume| of_volume(usage, budgets, &recorded, volume));
    let known = each.collect::<Result<Vec<Option<_>>>>()?;
    Ok(Some(known.into_iter().flatten().collect()))
}

/// Why [`growth`] knows nothing.
pub fn nothing_recorded(folder: &Path) -> String {
    format!("growth is not known: no requests are recorded in {}", folder.display())
}

/// `None` if nothing is known of the volume's file system.
fn of_volume(
    usage: &UsageReport,
    budgets: &Budgets,
    recorded: &dyn Source,
    volume: Volume,
) -> Result<Option<VolumeGrowth>> {
    let name = volume.name();
    let Some(system) = usage.file_systems.iter().find(|system| system.volume == name) else {
        return Ok(None);
    };
    let asked = match volume {
        Volume::Python => &budgets.python,
        Volume::System => &budgets.system,
    };
    let held = Weight::new(usage.volume_bytes(name), usage.volume_inodes(name));
    let (bytes, inodes) = asked.limits(system, held.bytes, held.inodes);
    // What no environment needs goes before any environment does.
    let garbage = usage
        .garbage_of(name)
        .map_or(Weight::default(), |garbage| Weight::new(garbage.bytes, garbage.inodes));
    let room = Weight::new(bytes, inodes).saturating_sub(held.saturating_sub(garbage));
    let counts_inodes = inodes != u64::MAX;
    let pace = Pace::of(recorded, volume).map_err(|error| Error::other(ErrorClass::Failed, error))?;
    Ok(Some(VolumeGrowth {
        volume,
        budget_bytes: bytes,
        budget_inodes: counts_inodes.then_some(inodes),
        full: pace.until_full(room, counts_inodes),
        pace,
    }))
}
