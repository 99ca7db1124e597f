//! Removes one environment, unless a task runs from it.

use std::path::Path;

use hybrid_cache_model::Failure;

use super::PythonVolume;
use crate::store::files;
use crate::store::lock::{self, Missing, Mode};
use crate::store::stage::LEASE;

/// What became of an environment that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// It is gone.
    Gone,
    /// A task runs from it.
    InUse,
}

/// Removes one environment, unless a task runs from it.
///
/// # Errors
/// The volume cannot be written.
pub fn evict(volume: &PythonVolume, environment: &Path) -> Result<Evicted, Failure> {
    let lease = environment.join(LEASE);
    let held = lock::attempt(&lease, Mode::Exclusive, Missing::Absent)?;
    // Without a lease file it is damaged, and no task can run from it.
    if held.is_none() && lease.exists() {
        return Ok(Evicted::InUse);
    }
    files::discard(environment, &volume.trash())?;
    Ok(Evicted::Gone)
}
