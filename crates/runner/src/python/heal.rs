//! Removes and counts environments that a lookup found damaged. The preparation that rebuilds them calls this.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use hybrid_cache_model::Failure;

use super::PythonVolume;
use super::evict::{Evicted, evict};

/// The list is not extended beyond this size.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// Removes a damaged environment and records that; returns the warning for the operator. One that a task uses stays
/// until it is published again.
///
/// # Errors
/// The volume cannot be written.
pub fn remove_damaged(volume: &PythonVolume, environment: &Path, what: &str) -> Result<String, Failure> {
    let name = volume.relative(environment);
    let fate = match evict(volume, environment)? {
        Evicted::Gone => "was removed",
        Evicted::InUse => "stays until the task that uses it has ended",
    };
    note(volume, &name, what);
    Ok(format!(
        "{name} was damaged ({what}) and {fate}; its packages are installed again"
    ))
}

/// Appends one line in one write, so that concurrent writers do not mix. Only the count depends on it.
fn note(volume: &PythonVolume, name: &str, what: &str) {
    let path = volume.healed();
    if path.metadata().is_ok_and(|found| found.len() > MAX_LIST_BYTES) {
        return;
    }
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let line = format!("{} {name} {what}\n", now.as_secs());
    let file = OpenOptions::new().append(true).create(true).open(path);
    drop(file.and_then(|mut file| file.write_all(line.as_bytes())));
}

/// How many damaged environments were rebuilt.
pub fn count(volume: &PythonVolume) -> u64 {
    std::fs::read_to_string(volume.healed()).map_or(0, |text| text.lines().count() as u64)
}
