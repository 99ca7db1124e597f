//! Which pages of files are in the page cache, and dropping them from it.
//!
//! `mincore(2)` answers for a mapping and brings nothing into memory. `preadv2` with `RWF_NOWAIT` would need no mapping, but starts
//! reading ahead what it misses (Linux 5.10 and later), so the check would warm what it checks.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, Advice};

/// Bytes of a file that are looked at together: the kernel's answer has a byte for each page.
const WINDOW_BYTES: u64 = 1 << 28;
/// How often dropping is tried, because a page that is on its way to a list of the kernel stays; and the pause between two tries.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// Pages of some files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Files that are not empty.
    pub files: u64,
    /// Their pages.
    pub pages: u64,
    /// Pages in memory.
    pub resident: u64,
    /// Pages of files for which the kernel does not report to this user.
    pub unknown: u64,
}

/// All files below a folder or at a path that are not empty, each once even if it has several names. Links are not followed, and
/// what `skip` names is left out with all below it. What disappears meanwhile is left out.
pub fn files_below(paths: &[PathBuf], skip: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let (mut files, mut seen) = (Vec::new(), HashSet::new());
    let mut left: Vec<PathBuf> = paths.to_vec();
    while let Some(path) = left.pop() {
        let Ok(data) = path.symlink_metadata() else { continue };
        if skip(&path) {
            continue;
        }
        if data.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        } else if data.is_file() && data.len() > 0 && seen.insert((data.dev(), data.ino())) {
            files.push(path);
        }
    }
    files
}

/// Writes everything to the disk that the file system of `folder` has in memory only: the kernel does not drop such pages.
///
/// # Errors
/// The folder cannot be opened, or the disk fails.
pub fn sync(folder: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(folder)?).map_err(io::Error::from)
}

/// Drops the pages of the files. Those that a process has mapped stay, and so do those on a file system without a disk.
///
/// # Errors
/// A file cannot be read.
pub fn drop_pages(files: &[PathBuf]) -> io::Result<()> {
    for tried in 0..TRIES {
        if tried > 0 {
            std::thread::sleep(PAUSE);
        }
        let mut stays = false;
        for path in files {
            let Some(file) = opened(path)? else { continue };
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
            stays |= count_file(path, &file)?.resident > 0;
        }
        if !stays {
            break;
        }
    }
    Ok(())
}

/// Counts the pages of the files.
///
/// # Errors
/// A file cannot be read or mapped.
pub fn count(files: &[PathBuf]) -> io::Result<Pages> {
    let mut sum = Pages::default();
    for path in files {
        let Some(file) = opened(path)? else { continue };
        let one = count_file(path, &file)?;
        sum.files += one.files;
        sum.pages += one.pages;
        sum.resident += one.resident;
        sum.unknown += one.unknown;
    }
    Ok(sum)
}

/// `None` if the file is gone.
fn opened(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

fn count_file(path: &Path, file: &File) -> io::Result<Pages> {
    let data = file.metadata()?;
    if data.len() == 0 {
        return Ok(Pages::default());
    }
    let pages = data.len().div_ceil(rustix::param::page_size() as u64);
    let reported = is_reported(path, data.uid());
    let resident = match reported {
        true => resident(file.as_fd(), data.len())?,
        false => 0,
    };
    Ok(Pages {
        files: 1,
        pages,
        resident,
        unknown: if reported { 0 } else { pages },
    })
}

/// Since Linux 5.2 the kernel calls every page resident unless the file is the caller's or writable for it.
fn is_reported(path: &Path, owner: u32) -> bool {
    let user = rustix::process::geteuid();
    user.is_root() || user.as_raw() == owner || rustix::fs::access(path, Access::WRITE_OK).is_ok()
}

fn resident(file: BorrowedFd<'_>, bytes: u64) -> io::Result<u64> {
    let mut sum = 0;
    let mut offset = 0;
    while offset < bytes {
        let part = (bytes - offset).min(WINDOW_BYTES);
        sum += resident_within(file, offset, usize::try_from(part).map_err(io::Error::other)?)?;
        offset += part;
    }
    Ok(sum)
}

#[expect(unsafe_code, reason = "neither std nor rustix has mincore")]
fn resident_within(file: BorrowedFd<'_>, offset: u64, bytes: usize) -> io::Result<u64> {
    let mut answer = vec![0_u8; bytes.div_ceil(rustix::param::page_size())];
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: the mapping is made here, is never read or written, and is gone before this returns; the answer has a byte for each
    // of its pages.
    let result = unsafe {
        let mapped = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset,
        );
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let result = match libc::mincore(mapped, bytes, answer.as_mut_ptr()) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        libc::munmap(mapped, bytes);
        result
    };
    result.map(|()| answer.iter().filter(|page| **page & 1 == 1).count() as u64)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A folder on a disk: pages of a file system in memory cannot be dropped. `None`, with a message, if there is none.
    fn on_disk(test: &str) -> Option<tempfile::TempDir> {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        let parent = if target.is_dir() { target } else { std::env::temp_dir() };
        let kind = crate::machine::file_system(&parent);
        if ["tmpfs", "ramfs", "overlay"].contains(&kind.as_str()) {
            println!(
                "skipped: {test}: {} is on {kind}, whose pages are not dropped",
                parent.display()
            );
            return None;
        }
        Some(tempfile::tempdir_in(parent).unwrap())
    }

    #[test]
    fn pages_of_a_file_are_seen_dropped_and_seen_again() {
        let Some(folder) = on_disk("pages_of_a_file_are_seen_dropped_and_seen_again") else {
            return;
        };
        let path = folder.path().join("file");
        let page = rustix::param::page_size();
        fs::write(&path, vec![7; 100 * page + 1]).unwrap();
        fs::write(folder.path().join("empty"), "").unwrap();
        fs::hard_link(&path, folder.path().join("again")).unwrap();
        let files = files_below(&[folder.path().to_owned()], &|_| false);
        assert_eq!(files.len(), 1, "one file, whatever its names: {files:?}");
        let seen = |resident| Pages {
            files: 1,
            pages: 101,
            resident,
            unknown: 0,
        };
        assert_eq!(count(&files).unwrap(), seen(101), "it was just written");
        sync(folder.path()).unwrap();
        drop_pages(&files).unwrap();
        assert_eq!(count(&files).unwrap(), seen(0));
        assert_eq!(count(&files).unwrap(), seen(0), "counting brings nothing into memory");
        let mut read = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(count(&files).unwrap(), seen(101));
    }

    #[test]
    fn what_is_skipped_or_gone_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/one", "b/two"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink("b/two", folder.path().join("link")).unwrap();
        let files = files_below(&[folder.path().to_owned()], &|path| path.ends_with("a"));
        assert_eq!(files, [folder.path().join("b/two")]);
        fs::remove_file(&files[0]).unwrap();
        drop_pages(&files).unwrap();
        assert_eq!(count(&files).unwrap(), Pages::default());
    }
}
