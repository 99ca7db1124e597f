//! Folders that belong to one process: temporary volumes. Each holds a file that its process has locked. The kernel releases
//! the lock when the process ends, so the next process finds and deletes the folders of a killed one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::local::permissions;

/// The locked file in each folder.
const OWNER: &str = ".owner";
/// Prefix of the name of a folder that its process has not locked yet, and the age at which one is a leftover.
const UNFINISHED: &str = ".new-";
const UNFINISHED_AGE: Duration = Duration::from_secs(60);
/// How often a folder is created again that another process deleted as soon as it was created.
const MAX_ATTEMPTS: usize = 64;
/// How long deleting waits for killed processes that still write, and the pause between two tries.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);
const DELETE_PAUSE: Duration = Duration::from_millis(5);

/// The folders of this process, with their locks.
#[derive(Clone, Debug, Default)]
pub struct OwnedFolders {
    locks: Arc<Mutex<HashMap<PathBuf, File>>>,
}

impl OwnedFolders {
    fn locks(&self) -> MutexGuard<'_, HashMap<PathBuf, File>> {
        // The map is complete between its calls, even if one panicked.
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates `folder` and keeps it locked until [`OwnedFolders::delete`] or the end of this process.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(&self, folder: &Path) -> io::Result<()> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(lock) = try_create(folder)? {
                self.locks().insert(folder.to_owned(), lock);
                return Ok(());
            }
        }
        Err(io::Error::other("another process keeps deleting it"))
    }

    /// Deletes a folder with its content, and its parent if that is then empty.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    pub fn delete(&self, folder: &Path) -> io::Result<()> {
        let deleted = delete_tree(folder);
        self.locks().remove(folder);
        if let (Ok(()), Some(parent)) = (&deleted, folder.parent()) {
            // This fails while other processes have folders there.
            let _ = fs::remove_dir(parent);
        }
        deleted
    }
}

/// Creates the folder under a temporary name, locks it, and renames it, so that no sweep finds it unlocked. `None` if another
/// process deleted it nevertheless.
fn try_create(folder: &Path) -> io::Result<Option<File>> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.with_file_name(format!("{UNFINISHED}{name}-{}", std::process::id()));
    match permissions::create_private(&unfinished) {
        // The parent was empty for a moment and was deleted: either before it was read, or between the call that found it
        // and the call that checked that it is a folder.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
            return Ok(None);
        }
        other => other?,
    }
    let lock = match File::create(unfinished.join(OWNER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let locked = match lock.try_lock() {
        Ok(()) => true,
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        // On a file system without locks, no sweep takes the folder for a leftover either.
        Err(fs::TryLockError::Error(_)) => false,
    };
    match fs::rename(&unfinished, folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    }
    Ok((!locked || is_at(&lock, &folder.join(OWNER))).then_some(lock))
}

fn is_at(file: &File, path: &Path) -> bool {
    let inode = |of: io::Result<fs::Metadata>| of.map(|metadata| (metadata.dev(), metadata.ino())).ok();
    let at_path = inode(fs::metadata(path));
    at_path.is_some() && at_path == inode(file.metadata())
}

/// Deletes what ended processes have left in `parent`. What cannot be deleted stays, and only takes space.
pub fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let folder = entry.path();
        if is_being_created(&entry) {
            continue;
        }
        let Ok(owner) = File::options().read(true).write(true).open(folder.join(OWNER)) else {
            continue;
        };
        if owner.try_lock().is_ok() {
            let _ = delete_tree(&folder);
        }
    }
    let _ = fs::remove_dir(parent);
}

/// True for a folder that was created a moment ago and may not be locked yet.
fn is_being_created(entry: &fs::DirEntry) -> bool {
    let unfinished = entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes());
    let age = entry
        .metadata()
        .and_then(|found| found.modified())
        .map(|at| at.elapsed());
    // A time in the future is of another clock, and not old.
    unfinished && !matches!(age, Ok(Ok(age)) if age > UNFINISHED_AGE)
}

/// Deletes a folder with its content. Waits a little for killed processes that still write into it, and makes the read-only
/// folders of a Nix store writable on the way.
fn delete_tree(folder: &Path) -> io::Result<()> {
    let deadline = Instant::now() + DELETE_TIMEOUT;
    loop {
        let deleted = match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                make_writable(folder).and_then(|()| fs::remove_dir_all(folder))
            }
            other => other,
        };
        match deleted {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => return Ok(()),
            Err(error) if is_transient(&error) && Instant::now() < deadline => std::thread::sleep(DELETE_PAUSE),
            other => return other,
        }
    }
}

/// True if another process added or removed something meanwhile.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound};
    matches!(error.kind(), DirectoryNotEmpty | NotFound)
}

fn make_writable(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_a_running_process_stay_and_those_of_an_ended_one_are_deleted() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("bypass");
        let (living, dead) = (OwnedFolders::default(), OwnedFolders::default());
        living.create(&parent.join("living")).unwrap();
        dead.create(&parent.join("dead")).unwrap();
        fs::create_dir_all(parent.join("dead/store")).unwrap();
        fs::set_permissions(parent.join("dead/store"), fs::Permissions::from_mode(0o555)).unwrap();
        sweep(&parent);
        assert!(parent.join("living").exists() && parent.join("dead").exists());
        drop(dead);
        sweep(&parent);
        assert!(parent.join("living").exists() && !parent.join("dead").exists());
        living.delete(&parent.join("living")).unwrap();
        assert!(!parent.exists());
    }

    #[test]
    fn a_folder_that_is_being_created_is_not_a_leftover_before_it_is_old() {
        let root = tempfile::tempdir().unwrap();
        let unfinished = root.path().join(format!("bypass/{UNFINISHED}a"));
        fs::create_dir_all(&unfinished).unwrap();
        File::create(unfinished.join(OWNER)).unwrap();
        sweep(&root.path().join("bypass"));
        assert!(unfinished.exists());
        let old = std::time::SystemTime::now() - 2 * UNFINISHED_AGE;
        File::open(&unfinished).unwrap().set_modified(old).unwrap();
        sweep(&root.path().join("bypass"));
        assert!(!root.path().join("bypass").exists());
    }

    #[test]
    fn folders_can_be_created_and_deleted_concurrently() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("bypass");
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let folder = parent.join(name);
                scope.spawn(move || {
                    let owned = OwnedFolders::default();
                    for _ in 0..50 {
                        owned.create(&folder).unwrap();
                        assert!(folder.join(OWNER).exists());
                        owned.delete(&folder).unwrap();
                        assert!(!folder.exists());
                    }
                });
            }
        });
        assert!(!parent.exists());
    }
}
