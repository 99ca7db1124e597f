//! File operations that other processes see all at once: atomic files and links, folders renamed into place, removal
//! through a trash folder, and syncing.
//!
//! Each visible step is one system call, so a reader without a lock never sees a partial result.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hybrid_cache_model::{Failure, FailureKind};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::failure::IoContext;

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// The result of publishing a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Our folder was published.
    Ours,
    /// Another process had published the same content; our folder stays where it was.
    Theirs,
}

/// A name that no other process or thread uses at this time on this host: process, serial and clock.
pub fn unique_name(prefix: &str) -> String {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    // The clock makes the name unique if two hosts that share the volume have the same process id.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    format!(
        "{prefix}-{}-{serial}-{:x}{:08x}",
        std::process::id(),
        now.tv_sec,
        now.tv_nsec
    )
}

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or(OsStr::new("file")).to_string_lossy();
    path.with_file_name(unique_name(&format!(".{name}")))
}

/// Creates a folder and its missing parents.
///
/// # Errors
/// It cannot be made.
pub fn ensure_folder(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).io_context("create the folder", path)
}

/// Syncs the entries of a folder to disk.
///
/// # Errors
/// The file system refuses.
pub fn sync_folder(path: &Path) -> Result<(), Failure> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .io_context("sync the folder", path)
}

/// Syncs everything written to the file system of `path`, by any process.
///
/// # Errors
/// The file system refuses; a write that failed later than it was made is reported here too.
pub fn sync_volume(path: &Path) -> Result<(), Failure> {
    let folder = File::open(path).io_context("open", path)?;
    rustix::fs::syncfs(&folder).io_context("sync the volume of", path)
}

/// Writes a file so that any reader, and any reader after a crash, finds the old content or the new one whole.
///
/// # Errors
/// It cannot be written; the old content is still there then.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let temporary = temporary_beside(path);
    let written = write_and_rename(&temporary, path, content);
    if written.is_err() {
        // Removing the temporary file may fail for the same reason; report the first error.
        drop(std::fs::remove_file(&temporary));
    }
    written.io_context("write", path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn write_and_rename(temporary: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}

/// Points `link` at `target`, replacing the link that was there, if any, at one instant.
///
/// # Errors
/// It cannot be made; the old link is still there then.
pub fn link_atomic(target: &Path, link: &Path) -> Result<(), Failure> {
    let temporary = temporary_beside(link);
    rustix::fs::symlink(target, &temporary).io_context("link", &temporary)?;
    if let Err(error) = std::fs::rename(&temporary, link) {
        drop(std::fs::remove_file(&temporary));
        return Err(error).io_context("rename into place", link);
    }
    sync_folder(link.parent().unwrap_or(Path::new(".")))
}

/// Puts the folder `from` at `to` and, at the same instant, leaves at `from` a link to its new place.
///
/// The link serves a task that already runs from `from` and imports more later. First a link is created at `to` as a
/// claim, then folder and link swap names in one call (`RENAME_EXCHANGE`). A process that finds a folder at `to` has
/// lost the race and uses that folder. A claim exists for microseconds, or for ever if its creator was killed, so any
/// process may swap it away. On a file system without exchange (NFS) this uses a plain rename, which also fails onto a
/// non-empty folder, and creates the link just after.
///
/// # Errors
/// The names cannot be changed.
pub fn place(from: &Path, to: &Path, forward: &Path) -> Result<Placed, Failure> {
    // A retry is needed only if a sweep removed our claim between the two calls.
    for _ in 0..8 {
        match rustix::fs::symlink(forward, to) {
            Ok(()) => {}
            Err(Errno::EXIST) if to.symlink_metadata().is_ok_and(|found| found.is_symlink()) => {}
            Err(Errno::EXIST) => return Ok(Placed::Theirs),
            Err(error) => return Err(error).io_context("publish", to),
        }
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
            Ok(()) => return settle(from, to),
            Err(Errno::NOENT) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return place_by_rename(from, to, forward),
            Err(error) => return Err(error).io_context("rename into place", to),
        }
    }
    Err(Failure::new(
        FailureKind::CacheAccess,
        format!("{} was removed repeatedly by another process", to.display()),
    ))
}

/// Checks what the exchange brought: a folder means that another publisher used our claim first.
fn settle(from: &Path, to: &Path) -> Result<Placed, Failure> {
    if from.symlink_metadata().io_context("look at", from)?.is_symlink() {
        sync_folder(to.parent().unwrap_or(Path::new(".")))?;
        return Ok(Placed::Ours);
    }
    // The other folder is complete and may be leased: swap it back.
    rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE).io_context("give back", to)?;
    Ok(Placed::Theirs)
}

fn place_by_rename(from: &Path, to: &Path, forward: &Path) -> Result<Placed, Failure> {
    if to.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        std::fs::remove_file(to).io_context("remove the claim", to)?;
    }
    match std::fs::rename(from, to) {
        Ok(()) => {}
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOTEMPTY | Errno::EXIST)) => {
            return Ok(Placed::Theirs);
        }
        Err(error) => return Err(error).io_context("rename into place", to),
    }
    // The folder is published now; a missing link only affects a task that runs from `from`.
    let _ = rustix::fs::symlink(forward, from);
    sync_folder(to.parent().unwrap_or(Path::new(".")))?;
    Ok(Placed::Ours)
}

/// Moves a file or folder to the trash atomically, then deletes it.
///
/// # Errors
/// It cannot be moved, or not be deleted completely; the next sweep of `trash` deletes the rest.
pub fn discard(path: &Path, trash: &Path) -> Result<(), Failure> {
    move_to_trash(path, trash)?.map_or(Ok(()), |away| delete(&away))
}

/// Moves a file or folder to the trash atomically. Returns its new path, to be deleted once no lock is held; `None` if
/// it did not exist.
///
/// # Errors
/// It cannot be moved.
pub fn move_to_trash(path: &Path, trash: &Path) -> Result<Option<PathBuf>, Failure> {
    ensure_folder(trash)?;
    let away = trash.join(unique_name("gone"));
    match std::fs::rename(path, &away) {
        Ok(()) => Ok(Some(away)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).io_context("move to the trash", path),
    }
}

/// Deletes a file or a folder, including read-only subfolders. Succeeds if it does not exist.
///
/// # Errors
/// Something in it cannot be deleted.
pub fn delete(path: &Path) -> Result<(), Failure> {
    let deleted = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => delete_folder(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match deleted {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.io_context("delete", path),
    }
}

fn delete_folder(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            make_writable(folder)?;
            std::fs::remove_dir_all(folder)
        }
        other => other,
    }
}

/// The folders of a store path are read-only, which prevents deleting what is in them.
fn make_writable(folder: &Path) -> std::io::Result<()> {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let mode = folder.symlink_metadata()?.permissions().mode();
        if mode & 0o700 != 0o700 {
            std::fs::set_permissions(&folder, Permissions::from_mode(mode | 0o700))?;
        }
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(root: &Path, name: &str, content: &str) -> PathBuf {
        let path = root.join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("f"), content).unwrap();
        path
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for content in ["one", "two"] {
            write_atomic(&path, content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_first_publisher_wins_and_both_paths_keep_working() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("envs/k");
        std::fs::create_dir(dir.path().join("envs")).unwrap();
        let first = folder(dir.path(), "staging/a/env", "first");
        let second = folder(dir.path(), "staging/b/env", "second");
        let forward = Path::new("../../envs/k");
        assert_eq!(place(&first, &to, forward).unwrap(), Placed::Ours);
        assert_eq!(place(&second, &to, forward).unwrap(), Placed::Theirs);
        assert!(to.symlink_metadata().unwrap().is_dir());
        for path in [&to, &first] {
            assert_eq!(std::fs::read_to_string(path.join("f")).unwrap(), "first");
        }
        assert_eq!(std::fs::read_to_string(second.join("f")).unwrap(), "second");
    }

    #[test]
    fn the_claim_of_a_killed_publisher_is_used_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("envs")).unwrap();
        let to = dir.path().join("envs/k");
        let forward = Path::new("../../envs/k");
        rustix::fs::symlink(forward, &to).unwrap();
        let from = folder(dir.path(), "staging/a/env", "first");
        assert_eq!(place(&from, &to, forward).unwrap(), Placed::Ours);
        assert!(to.symlink_metadata().unwrap().is_dir());
    }

    #[test]
    fn without_exchange_a_plain_rename_decides() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("envs")).unwrap();
        let to = dir.path().join("envs/k");
        let first = folder(dir.path(), "staging/a/env", "first");
        let second = folder(dir.path(), "staging/b/env", "second");
        let forward = Path::new("../../envs/k");
        assert_eq!(place_by_rename(&first, &to, forward).unwrap(), Placed::Ours);
        assert_eq!(place_by_rename(&second, &to, forward).unwrap(), Placed::Theirs);
        assert_eq!(std::fs::read_to_string(first.join("f")).unwrap(), "first");
    }

    #[test]
    fn links_are_replaced_and_discarded_folders_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("l");
        for target in ["a", "b"] {
            link_atomic(Path::new(target), &link).unwrap();
            assert_eq!(std::fs::read_link(&link).unwrap(), Path::new(target));
        }
        let gone = folder(dir.path(), "x", "x");
        discard(&gone, &dir.path().join("trash")).unwrap();
        discard(&gone, &dir.path().join("trash")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("trash")).unwrap().count(), 0);
    }
}
