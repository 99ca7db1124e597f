//! Maintenance of the Python volume.

pub mod gc;
mod repair;
pub mod usage;
pub mod verify;

pub use gc::{gc, keep_within, make_room};
pub use repair::repair;
pub use usage::usage;
pub use verify::verify;

use hybrid_cache_model::Failure;

use crate::python::{PythonVolume, publish};

/// Notes that an environment (its folder below the volume, `tenants/<tenant>/envs/<key>`) is in use now.
///
/// # Errors
/// The environment is not there, or the volume cannot be written.
pub fn touch(volume: &PythonVolume, relative: &str) -> Result<(), Failure> {
    let leased = volume.lease(relative)?;
    publish::touch(leased.path())
}
