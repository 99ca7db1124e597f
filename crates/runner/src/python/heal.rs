//! Environments that a lookup found damaged: taken away by the preparation that builds them again, and counted.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use hybrid_cache_model::Failure;

use super::PythonVolume;
use super::evict::{Evicted, evict};

/// The list of heals does not grow beyond this.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// Takes a damaged environment away and notes that; what an operator should know of it. One that a task uses stays, and is
/// taken away when it is published again.
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

/// One line for each heal. It is written at once, so several writers do not disturb each other; nothing depends on it.
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

/// How many damaged environments were built again.
pub fn count(volume: &PythonVolume) -> u64 {
    std::fs::read_to_string(volume.healed()).map_or(0, |text| text.lines().count() as u64)
}
