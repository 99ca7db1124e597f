//! The disk usage of the system volume: store paths from the ledger, the rest by walking it.

use std::time::{Duration, Instant};

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::{GarbageUsage, LayerUsage, UsageReport};

use crate::ledger;
use crate::maintenance::largest;
use crate::store::measure::{Counter, DiskUsage, file_system};
use crate::system::{SystemVolume, index_entries};

/// How long to wait for another writer of the ledger.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Measures the volume: store paths from the ledger, the rest by walking it.
///
/// # Errors
/// A folder cannot be read.
pub fn usage(volume: &SystemVolume) -> Result<UsageReport, Failure> {
    let mut layers = Vec::new();
    let mut add = |layer: &str, DiskUsage { bytes, inodes, entries }: DiskUsage| {
        let layer = layer.to_owned();
        layers.push(LayerUsage {
            layer,
            bytes,
            inodes,
            entries,
        });
    };
    let mut store = Counter::itself(&volume.root().join("store"));
    let (mut garbage, mut most) = (Vec::new(), Vec::new());
    if volume.is_laid_out()? {
        let open = ledger::open_system(volume, Instant::now() + LEDGER_TIMEOUT)?;
        open.ledger.parts().values().for_each(|part| store += part.size);
        let mut unused = DiskUsage::default();
        open.ledger.unused().iter().for_each(|part| unused += part.size);
        garbage.push(GarbageUsage {
            volume: "system".to_owned(),
            bytes: unused.bytes,
            inodes: unused.inodes,
        });
        most = largest::largest(&open.ledger, "system", |member| {
            let entry = index_entries::read(&volume.root().join(&member.name));
            entry.map(|entry| entry.packages).unwrap_or_default()
        });
    } else {
        store = Counter::new().measure(&volume.root().join("store"))?;
    }
    add("system/store", store);
    add("system/db", Counter::new().measure(&volume.root().join("var/nix"))?);
    add("system/index", Counter::new().measure(&volume.state())?);
    let file_systems = vec![file_system("system", volume.root())?];
    let system_sets = index_entries::all(volume)?.len() as u64;
    Ok(UsageReport {
        layers,
        file_systems,
        system_sets,
        garbage,
        largest: most,
        ..UsageReport::default()
    })
}
