//! The `FORMAT` file, which names a folder's layout. A runner never touches an unknown layout.
//!
//! ```text
//! <root>/
//!   FORMAT           `hybrid-cache python 2\n`
//!   .FORMAT-<pid>-*  only while it is written; a folder with nothing but these counts as empty
//! ```

use std::io::ErrorKind;
use std::path::Path;

use hybrid_cache_model::key::format_line;
use hybrid_cache_model::pod::SET_ASIDE;
use hybrid_cache_model::tenant::TENANTS_FOLDER;
use hybrid_cache_model::{Failure, FailureKind};

use super::failure::IoContext;
use super::files;

/// Name of the file that holds the layout version.
pub const FORMAT_FILE: &str = "FORMAT";
/// A `FORMAT` file is one short line; no more than this is shown.
const MAX_FORMAT_BYTES: usize = 256;
/// Entries that an empty volume may have: what mkfs creates, and folders of separate epochs.
const NOT_CONTENT: [&str; 2] = ["lost+found", "epochs"];
/// Prefix of a file that only tests whether the folder is writable.
pub const PROBE: &str = ".writable";
/// The lock that is held while an image's seed is unpacked.
pub const PLANTING_LOCK: &str = ".planting";
/// Folders that a task's pod mounts, with the depth of folders below them. A kubelet creates a missing one, empty.
const MOUNTED: [(&str, usize); 2] = [("bytecode", 0), (TENANTS_FOLDER, 1)];
/// A runner does not know whose volumes these are, so the hint names both commands.
const SET_ASIDE_HINT: &str = "move it out of the way with `cargo xtask cache set-aside` (a cluster's with \
                              `cargo xtask cache --driver kube set-aside`), which deletes nothing";

/// Whether a folder may be initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatAccess {
    /// Only check the layout.
    Read,
    /// Create the layout if the folder is empty.
    Write,
}

/// The layout of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It has the expected layout.
    Ours,
    /// It is empty, so every lookup misses.
    Empty,
}

/// Checks that `root` has the layout of this version of `cache` (`python`, `system`).
///
/// With [`FormatAccess::Write`] an empty folder is given that layout, and the answer is always [`Opened::Ours`].
///
/// # Errors
/// [`FailureKind::CacheFormat`] if the layout is another one, or the folder holds something without a `FORMAT` file;
/// [`FailureKind::CacheAccess`] if it cannot be read or written. Nothing is touched in either case.
pub fn open(root: &Path, cache: &str, access: FormatAccess) -> Result<Opened, Failure> {
    let expected = format_line(cache);
    let path = root.join(FORMAT_FILE);
    if says_ours(&path, &expected)? {
        return Ok(Opened::Ours);
    }
    if let Some(name) = first_content(root)? {
        // Another runner may have initialised the folder between the two checks.
        if path.exists() {
            return open(root, cache, access);
        }
        let message = format!(
            "{} holds `{name}` but no {FORMAT_FILE} file, so it is not a hybrid-cache volume",
            root.display()
        );
        return Err(Failure::new(FailureKind::CacheFormat, message)
            .hint(format!("{SET_ASIDE_HINT}, or use an empty folder or volume")));
    }
    if access == FormatAccess::Read {
        return Ok(Opened::Empty);
    }
    files::write_atomic(&path, expected.as_bytes())?;
    Ok(Opened::Ours)
}

/// Checks the `FORMAT` file of `root`, if it exists: a task's sandbox does not show the one of the whole volume.
///
/// # Errors
/// [`FailureKind::CacheFormat`] if it names another layout; [`FailureKind::CacheAccess`] if it cannot be read.
pub fn check(root: &Path, cache: &str) -> Result<Opened, Failure> {
    let ours = says_ours(&root.join(FORMAT_FILE), &format_line(cache))?;
    Ok(if ours { Opened::Ours } else { Opened::Empty })
}

/// False if the file does not exist.
fn says_ours(path: &Path, expected: &str) -> Result<bool, Failure> {
    match std::fs::read(path) {
        Ok(found) if found == expected.as_bytes() => Ok(true),
        Ok(found) => Err(unknown(path, &found, expected)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error).io_context("read", path),
    }
}

fn first_content(root: &Path) -> Result<Option<String>, Failure> {
    for entry in std::fs::read_dir(root).io_context("read the folder", root)? {
        let entry = entry.io_context("read the folder", root)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_temporary(&name) || NOT_CONTENT.contains(&name.as_str()) {
            continue;
        }
        let mounted = MOUNTED.iter().find(|(known, _)| name == *known);
        if !mounted.is_some_and(|(_, levels)| holds_no_file(&entry.path(), *levels)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Names of files of ours that may be in a folder before it has a layout.
pub fn is_temporary(name: &str) -> bool {
    let beginnings = [".FORMAT-", PROBE, SET_ASIDE];
    name == PLANTING_LOCK || beginnings.iter().any(|beginning| name.starts_with(beginning))
}

/// Whether `folder` holds nothing but folders, `levels` deep at most.
fn holds_no_file(folder: &Path, levels: usize) -> bool {
    let Ok(mut entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.all(|entry| {
        let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        entry.is_ok_and(|entry| levels > 0 && is_folder(&entry) && holds_no_file(&entry.path(), levels - 1))
    })
}

fn unknown(path: &Path, found: &[u8], expected: &str) -> Failure {
    let shown = String::from_utf8_lossy(&found[..found.len().min(MAX_FORMAT_BYTES)]);
    let message = format!(
        "{} has layout `{}`, but this runner needs `{}`",
        path.display(),
        shown.trim(),
        expected.trim()
    );
    Failure::new(FailureKind::CacheFormat, message).hint(format!("{SET_ASIDE_HINT}, or use a runner of that version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_is_initialised_once_and_only_for_writing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert_eq!(open(dir.path(), "python", FormatAccess::Read).unwrap(), Opened::Empty);
        assert_eq!(open(dir.path(), "python", FormatAccess::Write).unwrap(), Opened::Ours);
        assert_eq!(open(dir.path(), "python", FormatAccess::Read).unwrap(), Opened::Ours);
        let format = std::fs::read_to_string(dir.path().join(FORMAT_FILE)).unwrap();
        assert_eq!(format, "hybrid-cache python 2\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn other_layouts_are_refused_and_left_alone() {
        for (name, content) in [
            ("FORMAT", "hybrid-cache python 1\n"),
            ("FORMAT", "hybrid-cache python 999\n"),
            ("FORMAT", "x"),
            ("photo.jpg", "x"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(name), content).unwrap();
            let failure = open(dir.path(), "python", FormatAccess::Write).unwrap_err();
            assert_eq!(failure.kind, FailureKind::CacheFormat, "{failure}");
            assert!(failure.to_string().contains("cargo xtask cache set-aside"), "{failure}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), content);
        }
    }

    /// A kubelet makes the folders of a `subPath` that was deleted, before a runner sees the volume.
    #[test]
    fn empty_folders_that_a_kubelet_created_do_not_count_as_content() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("tenants/default")).unwrap();
        std::fs::create_dir(dir.path().join("bytecode")).unwrap();
        assert_eq!(open(dir.path(), "python", FormatAccess::Read).unwrap(), Opened::Empty);
        for file in ["tenants/default/x", "bytecode/x", "tenants/x"] {
            std::fs::write(dir.path().join(file), "").unwrap();
            assert!(open(dir.path(), "python", FormatAccess::Write).is_err(), "{file}");
            std::fs::remove_file(dir.path().join(file)).unwrap();
        }
        std::fs::create_dir(dir.path().join("tenants/default/envs")).unwrap();
        assert!(open(dir.path(), "python", FormatAccess::Write).is_err());
        std::fs::remove_dir(dir.path().join("tenants/default/envs")).unwrap();
        assert_eq!(open(dir.path(), "python", FormatAccess::Write).unwrap(), Opened::Ours);
    }

    #[test]
    fn the_other_cache_is_another_layout() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), "system", FormatAccess::Write).unwrap();
        assert_eq!(
            open(dir.path(), "python", FormatAccess::Read).unwrap_err().kind,
            FailureKind::CacheFormat
        );
    }

    #[test]
    fn a_missing_folder_is_named() {
        let failure = open(Path::new("/nowhere/at/all"), "python", FormatAccess::Read).unwrap_err();
        assert!(failure.message.contains("/nowhere/at/all"), "{failure}");
    }
}
