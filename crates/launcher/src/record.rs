//! The record beside the program: the state of every file that it was built from, as it was when cargo had built it.
//!
//! The program is up to date if every file still has the same state. Cargo is asked otherwise; a record that is missing or wrong
//! costs that question, never a stale program.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::inputs;
use crate::paths::Paths;

/// The first line of a record. Another form gets another number.
const FORM: &str = "hybrid-cache-launcher 1";
/// Coarsest time stamps of a file system. A file that changed this shortly before a build may change again without a trace.
const GRANULARITY: Duration = Duration::from_secs(2);
/// What stands for a file that is not there.
const ABSENT: &str = "absent";

/// A record that is being made while cargo builds.
pub struct Record {
    began: SystemTime,
    variables: u64,
}

impl Record {
    /// True if nothing has changed since the program was built.
    ///
    /// # Errors
    /// The record is there and cannot be removed after it has proved wrong.
    pub fn is_current(paths: &Paths) -> io::Result<bool> {
        let file = paths.program.with_extension("launch");
        let Ok(text) = fs::read_to_string(&file) else {
            return Ok(false);
        };
        let is_current = is_as_recorded(&text, inputs::variables());
        if !is_current {
            fs::remove_file(&file).or_else(accept_absence)?;
        }
        Ok(is_current)
    }

    /// Begins a record before cargo looks at any file. The one before is void.
    ///
    /// # Errors
    /// The record before cannot be removed.
    pub fn begin(paths: &Paths) -> io::Result<Record> {
        fs::remove_file(paths.program.with_extension("launch")).or_else(accept_absence)?;
        Ok(Record {
            began: SystemTime::now(),
            variables: inputs::variables(),
        })
    }

    /// Writes the record, unless a file has changed since shortly before the build: cargo may have seen it before or after.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn finish(self, paths: &Paths) -> io::Result<()> {
        let mut text = format!("{FORM} {}\n", self.variables);
        let latest = self.began.checked_sub(GRANULARITY).unwrap_or(UNIX_EPOCH);
        for path in inputs::files(paths)? {
            let made_by_cargo = path == paths.program || path == paths.launcher;
            let Some(name) = path.to_str().filter(|name| !name.contains('\n')) else {
                return Ok(());
            };
            if !made_by_cargo && has_changed_since(&path, latest) {
                return Ok(());
            }
            writeln!(text, "{} {name}", state(&path)).map_err(io::Error::other)?;
        }
        let file = paths.program.with_extension("launch");
        let staged = paths.program.with_extension(format!("launch.{}", std::process::id()));
        fs::write(&staged, text)?;
        fs::rename(staged, file)
    }
}

fn accept_absence(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

fn is_as_recorded(text: &str, variables: u64) -> bool {
    let mut lines = text.lines();
    let is_of_form = lines.next() == Some(format!("{FORM} {variables}").as_str());
    let is_whole = text.ends_with('\n') && text.lines().count() > 1;
    is_of_form
        && is_whole
        && lines.all(|line| {
            let recorded = line
                .split_once(" /")
                .map(|(recorded, path)| (recorded, format!("/{path}")));
            recorded.is_some_and(|(recorded, path)| state(Path::new(&path)) == recorded)
        })
}

/// Device, inode, size, and times of content and of inode in nanoseconds.
fn state(path: &Path) -> String {
    fs::metadata(path).map_or_else(
        |_| ABSENT.to_owned(),
        |data| {
            let (modified, changed) = ((data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec()));
            format!(
                "{}:{}:{}:{}.{:09}:{}.{:09}",
                data.dev(),
                data.ino(),
                data.size(),
                modified.0,
                modified.1,
                changed.0,
                changed.1
            )
        },
    )
}

fn has_changed_since(path: &Path, moment: SystemTime) -> bool {
    fs::metadata(path).is_ok_and(|data| {
        let seconds = u64::try_from(data.ctime().max(data.mtime())).unwrap_or(u64::MAX);
        moment
            .duration_since(UNIX_EPOCH)
            .is_ok_and(|moment| seconds >= moment.as_secs())
    })
}
