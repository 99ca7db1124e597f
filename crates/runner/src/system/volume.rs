//! The system volume: paths, layout, lookups and leases.

use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::EnvironmentContext;
use hybrid_cache_model::tenant::TENANTS_FOLDER;
use hybrid_cache_model::{Failure, SystemKey, Tenant};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::index::IndexEntry;
use crate::store::format::{self, FORMAT_FILE, FormatAccess, Opened};
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::{files, tenants};

/// Name of this cache in its `FORMAT` file.
pub const CACHE_NAME: &str = "system";

/// One tenant's part of the system volume, with what all tenants share.
#[derive(Clone, Debug)]
pub struct SystemVolume {
    root: PathBuf,
    tenant: Tenant,
}

/// The result of leasing an entry.
#[derive(Debug)]
pub enum SystemFound {
    /// The entry is leased, and stays as long as the lease is held.
    Leased {
        /// Store paths in the order of the search path.
        paths: Vec<String>,
        /// The closure of these; empty if the entry does not list it.
        closure: Vec<String>,
        /// Prevents eviction.
        lease: Lock,
    },
    /// It was evicted meanwhile, or lacks a store path.
    Gone,
}

impl SystemVolume {
    /// The tenant's part of the volume mounted at `root`; does not touch it.
    pub fn new(root: impl Into<PathBuf>, tenant: &Tenant) -> SystemVolume {
        SystemVolume {
            root: root.into(),
            tenant: tenant.clone(),
        }
    }

    /// The volume of a context; does not touch it.
    pub fn from_context(context: &EnvironmentContext) -> SystemVolume {
        SystemVolume::new(&context.volumes.nix, &context.tenant)
    }

    /// The parts of all tenants, sorted by name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> Result<Vec<SystemVolume>, Failure> {
        let tenants = tenants::list(&self.state())?;
        Ok(tenants
            .iter()
            .map(|tenant| SystemVolume::new(&self.root, tenant))
            .collect())
    }

    /// Creates the layout of an empty volume and the folders of a new tenant.
    ///
    /// # Errors
    /// It has another layout, or cannot be written.
    pub fn lay_out(&self) -> Result<(), Failure> {
        files::ensure_folder(&self.state())?;
        format::open(&self.state(), CACHE_NAME, FormatAccess::Write)?;
        files::ensure_folder(&self.own())?;
        format::open(&self.own(), CACHE_NAME, FormatAccess::Write)?;
        let leases = self.own().join("leases");
        let shared = ["locks", "work/gc"].map(|name| self.state().join(name));
        for folder in [self.root.join("store"), self.index(), leases].iter().chain(&shared) {
            files::ensure_folder(folder)?;
        }
        Ok(())
    }

    /// The mount point.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of hybrid-cache's own files.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/hybrid-cache")
    }

    /// The tenant's folder.
    pub fn own(&self) -> PathBuf {
        self.state().join(self.tenant.folder())
    }

    /// Folder of the index entries.
    pub fn index(&self) -> PathBuf {
        self.own().join("index")
    }

    /// The index entry of `key`.
    pub fn index_path(&self, key: &SystemKey) -> PathBuf {
        self.index().join(format!("{key}.json"))
    }

    /// The lease of `key`.
    pub fn lease_path(&self, key: &SystemKey) -> PathBuf {
        self.own().join("leases").join(key.as_str())
    }

    /// The build lock called `name`.
    pub fn lock_path(&self, name: &str) -> PathBuf {
        self.state().join("locks").join(name)
    }

    /// Folder of the garbage collector's roots of this tenant.
    pub fn roots(&self) -> PathBuf {
        let tenant = self.own().file_name().unwrap_or_default().to_owned();
        self.root.join("var/nix/gcroots/hybrid-cache").join(tenant)
    }

    /// Folder of the garbage collector's roots of `key`.
    pub fn roots_path(&self, key: &SystemKey) -> PathBuf {
        self.roots().join(key.as_str())
    }

    /// Checks that the volume has the layout this runner knows, or none yet.
    ///
    /// # Errors
    /// It has another layout, or cannot be read.
    pub fn check(&self) -> Result<(), Failure> {
        self.is_laid_out().map(drop)
    }

    /// False if the volume has no layout yet. Maintenance must not create folders there, because the volume would no
    /// longer count as empty.
    ///
    /// # Errors
    /// As those of [`SystemVolume::check`].
    pub fn is_laid_out(&self) -> Result<bool, Failure> {
        // A task sees only its tenant's part. A process that sees the whole volume must not mistake an old layout for
        // an empty volume.
        if format::check(&self.own(), CACHE_NAME)? == Opened::Ours {
            return Ok(true);
        }
        let state = self.state();
        let shows_whole = state.join(FORMAT_FILE).exists() || !state.join(TENANTS_FOLDER).exists();
        Ok(shows_whole && state.exists() && format::open(&state, CACHE_NAME, FormatAccess::Read)? == Opened::Ours)
    }

    /// Reads the entry of `key`, if there is one.
    ///
    /// # Errors
    /// The volume has an unknown layout, or cannot be read.
    pub fn look_up(&self, key: &SystemKey) -> Result<Option<IndexEntry>, Failure> {
        if !self.is_laid_out()? {
            return Ok(None);
        }
        IndexEntry::read(&self.index_path(key), key)
    }

    /// Takes the shared lock on `entry`, then checks that its store paths exist.
    ///
    /// An eviction removes the lease's file while it holds it exclusively, so a lock on a file that is still in place
    /// means that the entry still exists.
    ///
    /// # Errors
    /// The file system does not support locks.
    pub fn lease(&self, key: &SystemKey, entry: IndexEntry) -> Result<SystemFound, Failure> {
        let Some(lease) = lock::attempt(&self.lease_path(key), Mode::Shared, Missing::Absent)? else {
            return Ok(SystemFound::Gone);
        };
        if !entry.paths.iter().all(|path| Path::new(path).exists()) {
            return Ok(SystemFound::Gone);
        }
        note_use(&lease);
        Ok(SystemFound::Leased {
            paths: entry.paths,
            closure: entry.closure,
            lease,
        })
    }
}

/// Records the use, for eviction by last use. Does nothing on a task's read-only mount.
pub fn note_use(lease: &Lock) {
    let stamp = |nanoseconds| Timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: stamp(UTIME_OMIT),
        last_modification: stamp(UTIME_NOW),
    };
    let _ = rustix::fs::futimens(lease.file(), &times);
}

#[cfg(test)]
mod tests {
    use super::*;
    use hybrid_cache_model::protocol::{EnvironmentContext, IndexScope, Interpreter, Volumes};
    use hybrid_cache_model::{FailureKind, TaskSpec};

    fn context() -> EnvironmentContext {
        let text = str::to_owned;
        EnvironmentContext {
            volumes: Volumes {
                python: text("/cache/python"),
                nix: text("/nix"),
            },
            interpreter: Interpreter {
                path: text("/usr/bin/python3"),
                implementation: text("cpython"),
                version: text("3.11.7"),
                abi: text("cpython-311"),
                platform: text("linux-x86_64"),
                libc: String::new(),
                binary_hash: text("0"),
                start: String::new(),
            },
            index: text("default"),
            system_source: text("test:1"),
            max_age_s: 1,
            tenant: Tenant::default(),
            index_scope: IndexScope::Public,
            no_builds: false,
            sources: Default::default(),
        }
    }

    /// A volume with one entry of one path; the folder must outlive the volume.
    fn volume() -> (tempfile::TempDir, SystemVolume, SystemKey, String) {
        let dir = tempfile::tempdir().unwrap();
        let volume = SystemVolume::new(dir.path(), &Tenant::default());
        let task = TaskSpec {
            system_dependencies: "git".to_owned(),
            ..TaskSpec::new("1")
        }
        .check()
        .unwrap();
        let key = SystemKey::new(&task.system, &context());
        volume.lay_out().unwrap();
        files::ensure_folder(&dir.path().join("store/a-git")).unwrap();
        let path = dir.path().join("store/a-git").display().to_string();
        let entry = IndexEntry::new(&key, "test:1", vec!["git".to_owned()], vec![path.clone()])
            .with_closure(vec![path.clone()]);
        std::fs::write(volume.lease_path(&key), "").unwrap();
        files::write_atomic(&volume.index_path(&key), &entry.to_json().unwrap()).unwrap();
        (dir, volume, key, path)
    }

    fn find(volume: &SystemVolume, key: &SystemKey) -> Option<Vec<String>> {
        match volume.lease(key, volume.look_up(key).unwrap()?).unwrap() {
            SystemFound::Leased { paths, .. } => Some(paths),
            SystemFound::Gone => None,
        }
    }

    #[test]
    fn an_entry_is_found_with_its_paths() {
        let (_dir, volume, key, path) = volume();
        assert_eq!(find(&volume, &key), Some(vec![path]));
    }

    #[test]
    fn an_entry_without_its_store_path_is_a_miss() {
        let (_dir, volume, key, path) = volume();
        std::fs::remove_dir(path).unwrap();
        assert_eq!(find(&volume, &key), None);
    }

    #[test]
    fn an_entry_without_its_lease_is_a_miss() {
        let (_dir, volume, key, _) = volume();
        std::fs::remove_file(volume.lease_path(&key)).unwrap();
        assert_eq!(find(&volume, &key), None);
    }

    #[test]
    fn damaged_and_foreign_entries_are_misses() {
        let (_dir, volume, key, _) = volume();
        let path = volume.index_path(&key);
        let good = std::fs::read_to_string(&path).unwrap();
        for bad in [
            &good[..good.len() / 2],
            "",
            "[]",
            &good.replace(key.as_str(), &"0".repeat(32)),
        ] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(find(&volume, &key), None, "{bad}");
        }
    }

    #[test]
    fn an_unknown_layout_is_refused_and_no_volume_is_a_miss() {
        let (dir, volume, key, _) = volume();
        for format in [volume.own().join("FORMAT"), volume.state().join("FORMAT")] {
            std::fs::write(&format, "hybrid-cache system 1\n").unwrap();
            assert_eq!(volume.look_up(&key).unwrap_err().kind, FailureKind::CacheFormat);
            std::fs::remove_file(format).unwrap();
        }
        assert!(
            SystemVolume::new(dir.path().join("none"), &Tenant::default())
                .look_up(&key)
                .unwrap()
                .is_none()
        );
    }
}
