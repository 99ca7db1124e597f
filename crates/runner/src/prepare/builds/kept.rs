//! Wheels that were built before, below the tenant's own uv cache: `built-wheels/<key>/<sha256>/<wheel>`.
//!
//! They are copies of what can be built again. Eviction drops them with uv's copies of indexes, under uv's lock. A wheel
//! whose content is not what its folder is named by was damaged, as by a power cut, and is built again.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hybrid_cache_model::key::BuiltWheelKey;
use hybrid_cache_model::protocol::IndexScope;
use hybrid_cache_model::{Failure, FailureKind};

use crate::python::PythonVolume;
use crate::python::uv::BuiltWheel;
use crate::python::uv_cache::BUILT_WHEELS;
use crate::store::stage::Stage;
use crate::store::{IoContext, files, folder, sha256};

/// Most bytes of all wheels that are built for one task.
const MAX_TASK_BYTES: u64 = 8 << 30;

/// The wheels that were built for one task, or built before.
#[derive(Default)]
pub struct Built {
    /// The wheels.
    pub wheels: Vec<BuiltWheel>,
    /// What the user should know of how they were built.
    pub notes: Vec<String>,
    /// Their keys, in the same order.
    keys: Vec<BuiltWheelKey>,
    /// Holds the new ones until they are kept; `None` before the first.
    stage: Option<Stage>,
    /// Bytes of the new ones.
    bytes: u64,
    /// What builds made and what could not be copied yet, because the volume was full.
    made: BTreeMap<BuiltWheelKey, PathBuf>,
}

/// One wheel in a folder of its own.
#[derive(Clone, Debug)]
pub struct Wheel {
    /// The folder.
    pub folder: PathBuf,
    /// The file.
    pub file: PathBuf,
    /// The SHA-256 of its content, hexadecimal.
    sha256: String,
}

impl Wheel {
    /// The hash as uv writes it.
    pub fn hash(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    /// The name of the file.
    pub fn name(&self) -> String {
        name_of(&self.file)
    }
}

/// The name of a file.
pub fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Built {
    /// The wheel with this key: one of this task, one that was kept, or the file that `make` makes, which is moved here.
    ///
    /// # Errors
    /// It cannot be made, or not be copied. If that is for lack of room, another call copies the same file.
    pub fn wheel(
        &mut self,
        volume: &PythonVolume,
        key: &BuiltWheelKey,
        make: impl FnOnce() -> Result<PathBuf, Failure>,
    ) -> Result<Wheel, Failure> {
        let staged = self.stage.as_ref().map(|stage| stage.path().join(key.as_str()));
        if let Some(wheel) = staged.as_deref().and_then(whole).or_else(|| find(volume, key)) {
            return Ok(wheel);
        }
        let made = match self.made.get(key) {
            Some(made) => made.clone(),
            None => make()?,
        };
        self.made.insert(key.clone(), made.clone());
        let wheel = self.copy(&made, volume, key)?;
        self.made.remove(key);
        // The copy is the one that counts; everything else in the folder of an order is a stranger's.
        drop(made.parent().map(files::delete));
        Ok(wheel)
    }

    fn copy(&mut self, made: &Path, volume: &PythonVolume, key: &BuiltWheelKey) -> Result<Wheel, Failure> {
        let bytes = made.symlink_metadata().io_context("look at", made)?.len();
        check_bytes(self.bytes + bytes)?;
        let stage = match &mut self.stage {
            Some(stage) => stage,
            none => none.insert(Stage::create(&volume.staging())?),
        };
        let folder = stage.path().join(key.as_str());
        // A copy that was broken off.
        files::delete(&folder)?;
        let new = folder.join("new");
        files::ensure_folder(&new)?;
        let copy = new.join(made.file_name().unwrap_or_default());
        std::fs::copy(made, &copy).io_context("copy to", &copy)?;
        let sha256 = sha256::of_file(&copy).io_context("read", &copy)?;
        let named = folder.join(&sha256);
        std::fs::rename(&new, &named).io_context("rename into place", &named)?;
        self.bytes += bytes;
        Ok(Wheel {
            file: named.join(made.file_name().unwrap_or_default()),
            folder: named,
            sha256,
        })
    }

    /// Adds a wheel.
    pub fn add(&mut self, wheel: BuiltWheel, key: BuiltWheelKey) {
        self.wheels.push(wheel);
        self.keys.push(key);
    }

    /// Forgets which wheels the task takes; those that were built for it are still here.
    pub fn begin(&mut self) {
        self.wheels.clear();
        self.notes.clear();
        self.keys.clear();
    }

    /// Keeps new wheels for the tenant's later tasks. Call this once their environment is verified. A wheel that cannot be
    /// kept is built again. True if one was kept.
    pub fn keep(&self, volume: &PythonVolume) -> bool {
        let Some(stage) = &self.stage else { return false };
        let mut kept = false;
        for key in &self.keys {
            let (from, to) = (stage.path().join(key.as_str()), folder_of(volume, key));
            if to.parent().is_some_and(|parent| files::ensure_folder(parent).is_ok()) {
                // It fails if another preparation was faster, and for what had been kept before.
                kept |= std::fs::rename(&from, &to).is_ok();
            }
        }
        kept
    }
}

fn check_bytes(bytes: u64) -> Result<(), Failure> {
    if bytes <= MAX_TASK_BYTES {
        return Ok(());
    }
    let message = format!(
        "the wheels that are built for the task have more than {} GiB together",
        MAX_TASK_BYTES >> 30
    );
    Err(Failure::new(FailureKind::NoWheel, message).hint("ask for fewer packages without a wheel in one task"))
}

/// The volume as environments with built wheels use it: what is unpacked from them stays with the tenant.
pub fn volume_of_tenant(volume: &PythonVolume) -> PythonVolume {
    volume.clone().with_scope(IndexScope::Private)
}

fn folder_of(volume: &PythonVolume, key: &BuiltWheelKey) -> PathBuf {
    volume_of_tenant(volume)
        .uv_cache()
        .join(BUILT_WHEELS)
        .join(key.as_str())
}

/// The kept wheel with this key. One that is damaged is removed, so that a new one can take its place.
fn find(volume: &PythonVolume, key: &BuiltWheelKey) -> Option<Wheel> {
    let folder = folder_of(volume, key);
    let found = whole(&folder);
    match found {
        Some(_) => {
            // Ignore a failure: without it the wheel is dropped sooner.
            drop(File::open(&folder).and_then(|folder| folder.set_modified(SystemTime::now())));
        }
        None => drop(files::delete(&folder)),
    }
    found
}

/// The wheel in the folder of a key, if it has the hash that its own folder is named by.
fn whole(folder: &Path) -> Option<Wheel> {
    let inner = only(folder)?;
    let file = only(&inner)?;
    let sha256 = sha256::of_file(&file).ok()?;
    (name_of(&inner) == sha256).then_some(Wheel {
        folder: inner,
        file,
        sha256,
    })
}

/// The one entry of a folder.
fn only(folder: &Path) -> Option<PathBuf> {
    let mut found = folder::entries(folder).ok()?;
    match (found.pop(), found.is_empty()) {
        (Some(file), true) => Some(file),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::Tenant;
    use hybrid_cache_model::key::BuiltWheelSource;
    use hybrid_cache_model::protocol::Interpreter;

    use super::*;

    fn key(name: &str) -> BuiltWheelKey {
        let nothing = || String::new();
        BuiltWheelKey::new(&BuiltWheelSource {
            name,
            version: "1",
            source: "",
            constraints: "",
            wheels_only: &[],
            system: "",
            network: "",
            index: "",
            named_indexes: &[],
            interpreter: &Interpreter {
                path: nothing(),
                implementation: nothing(),
                version: nothing(),
                abi: nothing(),
                platform: nothing(),
                libc: nothing(),
                binary_hash: nothing(),
                start: nothing(),
            },
        })
    }

    /// A file as a build leaves it, in the folder of its order.
    fn made(dir: &Path, name: &str, bytes: u64) -> PathBuf {
        let folder = dir.join("orders").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("stranger"), "").unwrap();
        let file = folder.join(format!("{name}-1-py3-none-any.whl"));
        File::create(&file).unwrap().set_len(bytes).unwrap();
        file
    }

    fn never() -> Result<PathBuf, Failure> {
        panic!("it is there")
    }

    #[test]
    fn a_kept_wheel_is_found_again_unless_it_was_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        std::fs::create_dir(&root).unwrap();
        let volume = PythonVolume::open_write(&root, &Tenant::default()).unwrap();
        let wheel_of = |built: &mut Built| built.wheel(&volume, &key("a"), || Ok(made(dir.path(), "a", 5)));
        let mut built = Built::default();
        let new = wheel_of(&mut built).unwrap();
        assert!(!dir.path().join("orders/a").exists(), "nothing of an order stays");
        // Also without having been kept.
        assert_eq!(built.wheel(&volume, &key("a"), never).unwrap().file, new.file);
        built.keys.push(key("a"));
        assert!(built.keep(&volume));
        let kept = Built::default().wheel(&volume, &key("a"), never).unwrap();
        assert!(kept.folder.starts_with(folder_of(&volume, &key("a"))), "{kept:?}");
        assert_eq!(kept.hash(), new.hash());
        for damage in [0, 4, 9] {
            let length = File::options().write(true).open(&kept.file).unwrap().set_len(damage);
            length.unwrap();
            let mut built = Built::default();
            assert_eq!(wheel_of(&mut built).unwrap().hash(), new.hash(), "{damage}");
            built.keys.push(key("a"));
            assert!(built.keep(&volume), "the damaged one gave way");
        }
    }

    #[test]
    fn the_wheels_of_one_task_have_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        std::fs::create_dir(&root).unwrap();
        let volume = PythonVolume::open_write(&root, &Tenant::default()).unwrap();
        let mut built = Built::default();
        built
            .wheel(&volume, &key("a"), || Ok(made(dir.path(), "a", 5)))
            .unwrap();
        let refused = built.wheel(&volume, &key("b"), || Ok(made(dir.path(), "b", MAX_TASK_BYTES)));
        let refused = refused.unwrap_err();
        assert!(
            refused.kind == FailureKind::NoWheel && refused.message.contains("8 GiB"),
            "{refused}"
        );
    }
}
