//! The work folder: what lies in it under its own name is whole, and the name says what it was made from.
//!
//! ```text
//! target/node-image/
//!   .lock                          held while an image is built
//!   .staging/<name>/               what is being made; no reader uses it
//!   <name>-<identity>/             a component's programs, a root file system, or the image's archive
//!   go-cache/                      Go's own cache of compiled packages
//!   bin/                           kind, kubectl and crictl for this machine
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_tools::{ErrorContext, Result, failed};

use super::identity::Identity;

/// How long another build may take: on two cores the first one takes up to twenty minutes.
const LOCK_WAIT: Duration = Duration::from_secs(3600);

/// The folder, held by this process.
#[derive(Debug)]
pub struct BuildDir {
    root: PathBuf,
    _lock: File,
}

impl BuildDir {
    /// Makes the folder if it is missing, and waits until no other process builds in it.
    ///
    /// # Errors
    /// It cannot be made, or another build does not end.
    pub fn open(root: &Path, waiting: impl FnOnce()) -> Result<BuildDir> {
        fs::create_dir_all(root.join(".staging")).with_context(|| format!("cannot create {}", root.display()))?;
        let path = root.join(".lock");
        let lock = File::options().create(true).append(true).open(&path);
        let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
        let (started, mut waiting) = (Instant::now(), Some(waiting));
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
                Err(TryLockError::WouldBlock) if started.elapsed() > LOCK_WAIT => {
                    return Err(failed!("another process has held {} for an hour", path.display()));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let root = root.to_owned();
        Ok(BuildDir { root, _lock: lock })
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where a product lies, made or not.
    pub fn place(&self, name: &str, identity: &Identity) -> PathBuf {
        product_path(&self.root, name, identity)
    }

    /// The product of a name. Where it is not there yet, `make` fills an empty folder beside, which gets its name only
    /// when it is complete and on the disk; what the name stood for before is deleted then.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn product(&self, name: &str, identity: &Identity, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let target = self.place(name, identity);
        if target.is_dir() {
            return Ok(target);
        }
        let staging = self.root.join(".staging").join(name);
        remove(&staging)?;
        fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
        make(&staging)?;
        sync_below(&staging).with_context(|| format!("cannot write {} to the disk", staging.display()))?;
        for earlier in self.earlier(name)? {
            remove(&earlier)?;
        }
        fs::rename(&staging, &target).with_context(|| format!("cannot rename {}", staging.display()))?;
        Ok(target)
    }

    /// Products of the same name and another identity.
    fn earlier(&self, name: &str) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.root).with_context(|| format!("cannot read {}", self.root.display()))?;
        let is_earlier = |path: &PathBuf| {
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let identity = file
                .as_deref()
                .and_then(|file| file.strip_prefix(name)?.strip_prefix('-'));
            identity.is_some_and(|identity| !identity.contains('-') && path.is_dir())
        };
        Ok(entries.flatten().map(|entry| entry.path()).filter(is_earlier).collect())
    }

    /// Puts programs into `bin`, each replaced at once.
    ///
    /// # Errors
    /// One of them cannot be copied.
    pub fn publish(&self, programs: &[PathBuf]) -> Result<()> {
        let bin = self.root.join("bin");
        fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
        for program in programs {
            let target = bin.join(program.file_name().unwrap_or_default());
            if same(program, &target) {
                continue;
            }
            let staged = self.root.join(".staging").join(program.file_name().unwrap_or_default());
            fs::copy(program, &staged).with_context(|| format!("cannot copy {}", program.display()))?;
            fs::rename(&staged, &target).with_context(|| format!("cannot replace {}", target.display()))?;
        }
        Ok(())
    }
}

/// Where a product lies in a work folder that may not exist.
pub fn product_path(root: &Path, name: &str, identity: &Identity) -> PathBuf {
    root.join(format!("{name}-{identity}"))
}

/// Two programs of the same size and not older: good enough, because a product never changes.
fn same(program: &Path, copy: &Path) -> bool {
    let (Ok(program), Ok(copy)) = (fs::metadata(program), fs::metadata(copy)) else {
        return false;
    };
    program.len() == copy.len()
        && matches!((program.modified(), copy.modified()), (Ok(made), Ok(copied)) if copied >= made)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn sync_below(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::identity;
    use super::*;

    fn identity(content: &str) -> Identity {
        identity::image(&[("a".to_owned(), content.as_bytes().to_vec())].into(), "any")
    }

    #[test]
    fn what_is_half_made_is_made_again_and_what_is_whole_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let work = BuildDir::open(folder.path(), || panic!("no other process is here")).unwrap();
        let failed = work.product("x", &identity("1"), |staging| {
            fs::write(staging.join("half"), "")?;
            Err(failed!("interrupted"))
        });
        assert!(failed.is_err() && !work.place("x", &identity("1")).exists());
        let made = work.product("x", &identity("1"), |staging| Ok(fs::write(staging.join("whole"), "")?));
        assert!(!made.as_ref().unwrap().join("half").exists());
        let again = work.product("x", &identity("1"), |_| Err(failed!("it is there")));
        assert_eq!(again.unwrap(), made.unwrap());
    }

    #[test]
    fn a_new_product_takes_the_place_of_its_own_name_only() {
        let folder = tempfile::tempdir().unwrap();
        let work = BuildDir::open(folder.path(), || panic!("no other process is here")).unwrap();
        for (name, content) in [("x", "1"), ("x-y", "1"), ("x", "2")] {
            work.product(name, &identity(content), |_| Ok(())).unwrap();
        }
        assert!(!work.place("x", &identity("1")).exists());
        assert!(work.place("x-y", &identity("1")).exists() && work.place("x", &identity("2")).exists());
    }
}
