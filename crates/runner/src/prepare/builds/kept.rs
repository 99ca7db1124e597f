//! Wheels that were built before, below the tenant's own uv cache: `built-wheels/<key>/<wheel>`.
//!
//! They are copies of what can be built again. Eviction drops them with uv's copies of indexes, under uv's lock.

use std::path::{Path, PathBuf};

use hybrid_cache_model::Failure;
use hybrid_cache_model::key::BuiltWheelKey;
use hybrid_cache_model::protocol::IndexScope;

use crate::python::PythonVolume;
use crate::python::uv::BuiltWheel;
use crate::store::stage::Stage;
use crate::store::{IoContext, files, folder};

/// Name of the folder in uv's cache.
const FOLDER: &str = "built-wheels";

/// The wheels that were built for one task, or built before.
pub struct Built {
    /// The wheels.
    pub wheels: Vec<BuiltWheel>,
    /// Their keys, in the same order.
    keys: Vec<BuiltWheelKey>,
    /// Holds the new ones until they are kept.
    stage: Stage,
}

impl Built {
    /// None yet.
    pub fn new(stage: Stage) -> Built {
        Built {
            wheels: Vec::new(),
            keys: Vec::new(),
            stage,
        }
    }

    /// The folder of a new wheel.
    pub fn new_folder(&self, key: &BuiltWheelKey) -> PathBuf {
        self.stage.path().join(key.as_str())
    }

    /// Adds a wheel.
    pub fn add(&mut self, wheel: BuiltWheel, key: BuiltWheelKey) {
        self.wheels.push(wheel);
        self.keys.push(key);
    }
}

/// The volume as environments with built wheels use it: what is unpacked from them stays with the tenant.
pub fn volume_of_tenant(volume: &PythonVolume) -> PythonVolume {
    volume.clone().with_scope(IndexScope::Private)
}

fn folder_of(volume: &PythonVolume, key: &BuiltWheelKey) -> PathBuf {
    volume_of_tenant(volume).uv_cache().join(FOLDER).join(key.as_str())
}

/// Copies a wheel that a build made into `folder`, which is created.
///
/// # Errors
/// It cannot be copied.
pub fn copy(made: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    files::ensure_folder(folder)?;
    let copy = folder.join(made.file_name().unwrap_or_default());
    std::fs::copy(made, &copy).io_context("copy to", &copy)?;
    // The copy is the one that counts; the other takes space until the task has ended.
    drop(std::fs::remove_file(made));
    Ok(folder.to_owned())
}

/// The folder of the wheel with this key.
pub fn find(volume: &PythonVolume, key: &BuiltWheelKey) -> Option<PathBuf> {
    let folder = folder_of(volume, key);
    only_wheel(&folder).map(|_| folder)
}

/// The one file of a wheel's folder.
pub fn only_wheel(folder: &Path) -> Option<PathBuf> {
    let mut found = folder::entries(folder).ok()?;
    match (found.pop(), found.is_empty()) {
        (Some(file), true) => Some(file),
        _ => None,
    }
}

/// Keeps new wheels for the tenant's later tasks. Call this once their environment is verified. A wheel that cannot be
/// kept is built again.
pub fn keep(built: &Built, volume: &PythonVolume) {
    for (wheel, key) in built.wheels.iter().zip(&built.keys) {
        let target = folder_of(volume, key);
        if wheel.folder == target || !wheel.folder.starts_with(built.stage.path()) {
            continue;
        }
        let Some(parent) = target.parent() else { continue };
        if files::ensure_folder(parent).is_ok() {
            // It fails if another preparation was faster.
            drop(std::fs::rename(&wheel.folder, &target));
        }
    }
}

/// Deletes kept wheels whose environment could not be made: they may be damaged.
pub fn forget(built: &Built, volume: &PythonVolume) {
    for key in &built.keys {
        drop(files::delete(&folder_of(volume, key)));
    }
}
