//! Folders that belong to one living process: volumes to be thrown away. What a killed process left is found by its
//! lock, which the kernel lets go with the process, and deleted by the next one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::layout;

/// The locked file in each folder.
const OWNER: &str = ".owner";
/// How the name of a folder begins that its maker has not locked yet, and how old one must be to be a left-over.
const UNFINISHED: &str = ".new-";
const UNFINISHED_AGE: Duration = Duration::from_secs(60);
/// How often a folder is made anew that was taken away in the moment it was made.
const ATTEMPTS: usize = 64;
/// How long deleting waits for killed processes that still write, and how long between two looks.
const DYING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What this process holds.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    held: Arc<Mutex<HashMap<PathBuf, File>>>,
}

impl Claims {
    fn held(&self) -> MutexGuard<'_, HashMap<PathBuf, File>> {
        // The map is whole between its calls, whatever panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `folder` and holds it until [`Claims::delete`] or the end of this process.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self, folder: &Path) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            if let Some(lock) = try_create(folder)? {
                self.held().insert(folder.to_owned(), lock);
                return Ok(());
            }
        }
        Err(io::Error::other("another process deletes it again and again"))
    }

    /// Deletes a folder with all it holds, and the one above it where that is empty then.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    pub fn delete(&self, folder: &Path) -> io::Result<()> {
        let deleted = delete_tree(folder);
        self.held().remove(folder);
        if let (Ok(()), Some(parent)) = (&deleted, folder.parent()) {
            // It fails where others have folders in it.
            let _ = fs::remove_dir(parent);
        }
        deleted
    }
}

/// Makes it under another name, locks it, and gives it its name: no sweep meets it unlocked. `None` where it was taken
/// away nevertheless.
fn try_create(folder: &Path) -> io::Result<Option<File>> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.with_file_name(format!("{UNFINISHED}{name}-{}", std::process::id()));
    match layout::private_dirs(&unfinished) {
        // The folder above it was empty for a moment, and deleted: before it was looked for, or between the call that
        // found it there and the one that asked whether it is a folder.
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
        // A file system without locks: nobody can take the folder for a left-over there either.
        Err(fs::TryLockError::Error(_)) => false,
    };
    match fs::rename(&unfinished, folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    }
    Ok((!locked || is_at(&lock, &folder.join(OWNER))).then_some(lock))
}

fn is_at(file: &File, path: &Path) -> bool {
    let place = |of: io::Result<fs::Metadata>| of.map(|metadata| (metadata.dev(), metadata.ino())).ok();
    let at_path = place(fs::metadata(path));
    at_path.is_some() && at_path == place(file.metadata())
}

/// Deletes what processes that live no more have left in `parent`. What cannot be deleted stays: it only takes space.
pub fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let folder = entry.path();
        if is_being_made(&entry) {
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

/// True for a folder that was made a moment ago and may not be locked yet.
fn is_being_made(entry: &fs::DirEntry) -> bool {
    let unfinished = entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes());
    let age = entry
        .metadata()
        .and_then(|found| found.modified())
        .map(|at| at.elapsed());
    // A time in the future is another clock's; it is not old.
    unfinished && !matches!(age, Ok(Ok(age)) if age > UNFINISHED_AGE)
}

/// Deletes a folder with all it holds, waiting a little for processes that were killed and still write into it. A Nix
/// store's folders are read-only, so they are made writable on the way.
fn delete_tree(folder: &Path) -> io::Result<()> {
    let give_up = Instant::now() + DYING;
    loop {
        let deleted = match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                make_writable(folder).and_then(|()| fs::remove_dir_all(folder))
            }
            other => other,
        };
        match deleted {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => return Ok(()),
            Err(error) if is_passing(&error) && Instant::now() < give_up => std::thread::sleep(LOOK_AGAIN),
            other => return other,
        }
    }
}

/// True where somebody added or removed something meanwhile.
fn is_passing(error: &io::Error) -> bool {
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
    fn what_a_living_process_holds_stays_and_what_a_dead_one_left_goes() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("bypass");
        let (living, dead) = (Claims::default(), Claims::default());
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
    fn a_folder_that_is_being_made_is_no_left_over_before_it_is_old() {
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
    fn folders_come_and_go_side_by_side() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("bypass");
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let folder = parent.join(name);
                scope.spawn(move || {
                    let claims = Claims::default();
                    for _ in 0..50 {
                        claims.create(&folder).unwrap();
                        assert!(folder.join(OWNER).exists());
                        claims.delete(&folder).unwrap();
                        assert!(!folder.exists());
                    }
                });
            }
        });
        assert!(!parent.exists());
    }
}
