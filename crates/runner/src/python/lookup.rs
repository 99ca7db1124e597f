//! The warm path: finds and leases the environment of a request key with a few system calls and no process.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hybrid_cache_model::{Failure, FailureKind, Protection, RequestKey};
use rustix::io::Errno;

use super::PythonVolume;
use super::environment::{LOCK_FILE, Packages, VENV, damage};
use crate::store::IoContext;
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::stage::LEASE;

/// A leased environment. It is not removed while this value or a copy of its descriptor exists.
#[derive(Debug)]
pub struct Leased {
    path: PathBuf,
    lease: Lock,
}

/// What the volume holds for a request.
#[derive(Debug)]
pub enum Lookup {
    /// An environment that is recent enough.
    Hit(Leased),
    /// An environment that is too old; it should be resolved again if the index can be reached.
    Stale(Leased),
    /// A damaged environment. It counts as a miss, and the preparation that follows repairs it.
    Damaged {
        /// Its folder.
        path: PathBuf,
        /// Its damage.
        what: String,
    },
    /// Nothing.
    Miss,
}

impl Leased {
    /// The environment's folder, with hybrid-cache's own files in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The virtual environment.
    pub fn venv(&self) -> PathBuf {
        self.path.join(VENV)
    }

    /// The interpreter to run in it.
    pub fn python(&self) -> PathBuf {
        self.venv().join("bin/python")
    }

    /// The descriptor that carries the shared lock, to pass it to the user's process.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.lease.file().as_fd()
    }

    /// The lease itself.
    pub fn into_lock(self) -> Lock {
        self.lease
    }

    /// `name==version` of every package in it, sorted. Reads one small file.
    ///
    /// # Errors
    /// [`FailureKind::CacheDamaged`] if that file is missing.
    pub fn resolved(&self) -> Result<Vec<String>, Failure> {
        self.packages().map(|packages| packages.pins)
    }

    /// Its packages with their hashes. Reads one small file.
    ///
    /// # Errors
    /// See [`Leased::resolved`].
    pub fn packages(&self) -> Result<Packages, Failure> {
        let path = self.path.join(LOCK_FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("the environment {} has no {LOCK_FILE}", self.path.display());
                return Err(Failure::new(FailureKind::CacheDamaged, message)
                    .hint("run `cargo xtask cache verify` to list what is damaged"));
            }
            other => other.io_context("read", &path)?,
        };
        Ok(Packages::parse(&text))
    }
}

impl PythonVolume {
    /// Looks a request up and takes a shared lease on its environment.
    ///
    /// Uses one readlink, one stat of the link for its age, and one lock, then checks that the locked file is still in
    /// its place, because an eviction renames before it deletes. Works on a read-only mount.
    ///
    /// # Errors
    /// The volume cannot be read. Anything absent is a miss.
    pub fn lookup(&self, key: &RequestKey, max_age: Duration) -> Result<Lookup, Failure> {
        let link = self.requests().join(key.as_str());
        let target = match rustix::fs::readlink(&link, Vec::new()) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => return Ok(Lookup::Miss),
            Err(error) => return Err(error).io_context("read the link", &link),
        };
        let Some(environment) = target.to_str().ok().and_then(|target| target.strip_prefix("../envs/")) else {
            return Ok(Lookup::Miss);
        };
        let Ok(resolved_at) = link.symlink_metadata().and_then(|found| found.modified()) else {
            return Ok(Lookup::Miss);
        };
        let Some(leased) = lease(self.environments().join(environment))? else {
            return Ok(Lookup::Miss);
        };
        if let Some(what) = damage(leased.path()).filter(|_| Protection::DamageIsMiss.is_on()) {
            let path = leased.path;
            return Ok(Lookup::Damaged { path, what });
        }
        // A time in the future comes from another host's clock and counts as recent.
        let age = resolved_at.elapsed().unwrap_or_default();
        Ok(if age > max_age {
            Lookup::Stale(leased)
        } else {
            Lookup::Hit(leased)
        })
    }

    /// Takes a shared lease on the verified environment that another preparation of the same request is publishing now.
    pub fn lease_staged(&self, key: &RequestKey) -> Option<Leased> {
        let relative = std::fs::read_to_string(self.staged_note(key)).ok()?;
        self.lease(relative.trim()).ok()
    }

    /// Takes a shared lease on the environment that a preparation reported: `tenants/<tenant>/staging/…` or
    /// `tenants/<tenant>/envs/<key>`, relative to the volume.
    ///
    /// # Errors
    /// [`FailureKind::CacheDamaged`] if it no longer exists; [`FailureKind::Internal`] if the path leads out of the
    /// volume.
    pub fn lease(&self, relative: &str) -> Result<Leased, Failure> {
        let path = self.root().join(relative);
        if super::record::leaves(relative) || Path::new(relative).is_absolute() {
            let message = format!("the prepared environment {relative} is not on the volume");
            return Err(Failure::new(FailureKind::Internal, message));
        }
        lease(path.clone())?.ok_or_else(|| {
            let message = format!("the prepared environment {} is gone", path.display());
            Failure::new(FailureKind::CacheDamaged, message).hint("run the task again")
        })
    }
}

fn lease(path: PathBuf) -> Result<Option<Leased>, Failure> {
    let lease = lock::attempt(&path.join(LEASE), Mode::Shared, Missing::Absent)?;
    Ok(lease.map(|lease| Leased { path, lease }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::{DAMAGED_FILE, MANIFEST_FILE};
    use crate::python::publish::point;
    use hybrid_cache_model::Tenant;
    use hybrid_cache_model::protocol::{EnvironmentContext, IndexScope, Interpreter, Volumes};

    fn key() -> RequestKey {
        let interpreter = Interpreter::default();
        let context = EnvironmentContext {
            volumes: Volumes {
                python: String::new(),
                nix: String::new(),
            },
            interpreter,
            index: String::new(),
            system_source: String::new(),
            max_age_s: 1,
            tenant: Tenant::default(),
            index_scope: IndexScope::Public,
            no_builds: false,
            sources: Default::default(),
        };
        RequestKey::new(&hybrid_cache_model::PythonRequest::new(&[], &context))
    }

    fn volume() -> (tempfile::TempDir, PythonVolume) {
        let dir = tempfile::tempdir().unwrap();
        let volume = PythonVolume::open_write(dir.path(), &Tenant::default()).unwrap();
        let environment = volume.environments().join("e");
        std::fs::create_dir_all(environment.join("venv/bin")).unwrap();
        for (name, content) in [
            (LEASE, ""),
            (LOCK_FILE, "a==1\nb==2 --hash=sha256:0 --hash=md5:1\n"),
            (MANIFEST_FILE, "{}"),
            ("venv/bin/python", ""),
        ] {
            std::fs::write(environment.join(name), content).unwrap();
        }
        (dir, volume)
    }

    const WEEK: Duration = Duration::from_secs(604_800);

    #[test]
    fn an_empty_volume_misses() {
        let dir = tempfile::tempdir().unwrap();
        let volume = PythonVolume::open_read(dir.path(), &Tenant::default()).unwrap();
        assert!(matches!(volume.lookup(&key(), WEEK).unwrap(), Lookup::Miss));
    }

    #[test]
    fn a_request_hits_its_environment_until_it_is_too_old() {
        let (_dir, volume) = volume();
        point(&volume, &key(), "e").unwrap();
        let Lookup::Hit(leased) = volume.lookup(&key(), WEEK).unwrap() else {
            panic!("no hit")
        };
        assert_eq!(leased.resolved().unwrap(), ["a==1", "b==2"]);
        let packages = leased.packages().unwrap();
        assert_eq!(packages.hashes["b==2"], ["sha256:0", "md5:1"]);
        assert_eq!(packages.to_text(), "a==1\nb==2 --hash=sha256:0 --hash=md5:1\n");
        std::thread::sleep(Duration::from_millis(30));
        assert!(matches!(
            volume.lookup(&key(), Duration::ZERO).unwrap(),
            Lookup::Stale(_)
        ));
    }

    #[test]
    fn dangling_foreign_and_evicted_targets_miss() {
        let (_dir, volume) = volume();
        point(&volume, &key(), "absent").unwrap();
        assert!(matches!(volume.lookup(&key(), WEEK).unwrap(), Lookup::Miss));
        crate::store::files::link_atomic(Path::new("/etc"), &volume.requests().join(key().as_str())).unwrap();
        assert!(matches!(volume.lookup(&key(), WEEK).unwrap(), Lookup::Miss));
        point(&volume, &key(), "e").unwrap();
        let evicting = volume.environments().join("e").join(LEASE);
        let _evictor = lock::attempt(&evicting, Mode::Exclusive, Missing::Absent)
            .unwrap()
            .unwrap();
        assert!(matches!(volume.lookup(&key(), WEEK).unwrap(), Lookup::Miss));
    }

    #[test]
    fn a_lookup_names_what_a_damaged_environment_lacks() {
        for (name, what) in [
            ("venv/bin/python", "its interpreter is gone"),
            ("venv", "venv is gone"),
            (LOCK_FILE, "lock.txt is missing"),
            (MANIFEST_FILE, "manifest.json is missing"),
        ] {
            let (_dir, volume) = volume();
            point(&volume, &key(), "e").unwrap();
            crate::store::files::delete(&volume.environments().join("e").join(name)).unwrap();
            let found = volume.lookup(&key(), WEEK).unwrap();
            assert!(
                matches!(&found, Lookup::Damaged { what: reported, .. } if reported == what),
                "{found:?}"
            );
        }
        let (_dir, volume) = volume();
        point(&volume, &key(), "e").unwrap();
        std::fs::write(volume.environments().join("e").join(DAMAGED_FILE), "").unwrap();
        assert!(matches!(volume.lookup(&key(), WEEK).unwrap(), Lookup::Damaged { .. }));
    }

    #[test]
    fn a_reported_path_stays_on_the_volume() {
        let (_dir, volume) = volume();
        assert!(volume.lease("tenants/default/envs/e").is_ok());
        for outside in ["../x", "/etc", "envs/../../x"] {
            assert_eq!(volume.lease(outside).unwrap_err().kind, FailureKind::Internal);
        }
        assert_eq!(
            volume.lease("tenants/default/envs/gone").unwrap_err().kind,
            FailureKind::CacheDamaged
        );
    }
}
