//! The tool folder: where a downloaded tool is, and how it gets there completely or not at all.
//!
//! ```text
//! .tools/
//!   .lock                       held while something is being brought
//!   .downloads/                 verified files, and `.part` files that a next try continues
//!   uv-0.13.9-x86_64/           one brought tool
//!     .stamp                    digest of everything it was made from
//! ```
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::progress::Progress;
use crate::tool_error::ToolError;

/// How long another process may hold the lock: the largest tool over a slow line.
const LOCK_WAIT: Duration = Duration::from_secs(900);

/// The tool folder of a checkout.
#[derive(Debug, Clone)]
pub struct ToolDir {
    root: PathBuf,
}

/// What a brought tool is called on disk.
#[derive(Debug, Clone, Copy)]
pub struct Label<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The architecture it was built for.
    pub arch: &'a str,
}

impl ToolDir {
    /// The folder `.tools` of a checkout, made if it is missing.
    pub fn new(checkout: &Path) -> Result<Self, ToolError> {
        let checkout = std::path::absolute(checkout).map_err(ToolError::io("find", checkout))?;
        let root = checkout.join(".tools");
        let downloads = root.join(".downloads");
        std::fs::create_dir_all(&downloads).map_err(ToolError::io("create", &downloads))?;
        Ok(Self { root })
    }

    /// Where downloads are kept.
    pub fn downloads(&self) -> PathBuf {
        self.root.join(".downloads")
    }

    /// Where a tool lies once it is there.
    pub fn folder(&self, label: Label<'_>) -> PathBuf {
        self.root
            .join(format!("{}-{}-{}", label.name, label.version, label.arch))
    }

    /// The folder of a tool made from files that hash to `digest`. Where it is not there yet, `fill` makes it in an
    /// empty folder beside, which gets its name only when it is complete.
    pub fn tool(
        &self,
        label: Label<'_>,
        digest: &str,
        progress: &dyn Progress,
        fill: impl FnOnce(&Path) -> Result<(), ToolError>,
    ) -> Result<PathBuf, ToolError> {
        let Label { name, version, .. } = label;
        let target = self.folder(label);
        if is_stamped(&target, digest) {
            return Ok(target);
        }
        let _lock = self.lock(progress)?;
        if is_stamped(&target, digest) {
            return Ok(target);
        }
        progress.step(&format!("bringing {name} {version} into the tool folder"));
        let staging = self.root.join(format!(".staging-{name}"));
        remove(&staging)?;
        std::fs::create_dir(&staging).map_err(ToolError::io("create", &staging))?;
        fill(&staging)?;
        let stamp = staging.join(".stamp");
        std::fs::write(&stamp, digest).map_err(ToolError::io("write", &stamp))?;
        remove(&target)?;
        std::fs::rename(&staging, &target).map_err(ToolError::io("rename", &staging))?;
        Ok(target)
    }

    /// Waits for the lock; it is let go when the file closes, also when its holder is killed.
    fn lock(&self, progress: &dyn Progress) -> Result<File, ToolError> {
        let path = self.root.join(".lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(ToolError::io("open", &path))?;
        let started = Instant::now();
        let mut is_reported = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(ToolError::io("lock", &path)(source)),
                Err(TryLockError::WouldBlock) if started.elapsed() > LOCK_WAIT => {
                    return Err(ToolError::Locked {
                        path,
                        waited_s: LOCK_WAIT.as_secs(),
                    });
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if !std::mem::replace(&mut is_reported, true) {
                progress.step("waiting for another process that brings tools");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn is_stamped(folder: &Path, digest: &str) -> bool {
    std::fs::read_to_string(folder.join(".stamp")).is_ok_and(|stamp| stamp == digest)
}

fn remove(folder: &Path) -> Result<(), ToolError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ToolError::io("remove", folder)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::progress::Silent;

    const LABEL: Label<'_> = Label {
        name: "x",
        version: "1",
        arch: "any",
    };

    #[test]
    fn a_half_made_tool_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = ToolDir::new(dir.path()).unwrap();
        let failed = dir.tool(LABEL, "d", &Silent, |folder| {
            std::fs::write(folder.join("half"), "").unwrap();
            Err(ToolError::Pins {
                file: "f",
                problem: "p".into(),
            })
        });
        assert!(failed.is_err());
        let made = dir.tool(LABEL, "d", &Silent, |folder| {
            assert!(!folder.join("half").exists());
            std::fs::write(folder.join("whole"), "").map_err(ToolError::io("write", folder))
        });
        assert!(made.unwrap().join("whole").exists());
    }

    #[test]
    fn another_digest_replaces_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = ToolDir::new(dir.path()).unwrap();
        for digest in ["one", "two"] {
            let folder = dir.tool(LABEL, digest, &Silent, |f| {
                std::fs::write(f.join(digest), "").map_err(ToolError::io("write", f))
            });
            let folder = folder.unwrap();
            assert!(folder.join(digest).exists());
            assert_eq!(folder.join("one").exists(), digest == "one");
        }
    }

    #[test]
    fn of_many_at_once_one_brings_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = ToolDir::new(dir.path()).unwrap();
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let bring = |_: &Path| {
                        std::thread::sleep(Duration::from_millis(30));
                        made.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    };
                    dir.tool(LABEL, "d", &Silent, bring).unwrap();
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
