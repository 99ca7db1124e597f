//! Many runs over time: each group's medians as one series for each machine, with the points at which it changed.
//!
//! Only points are kept of a run, so that a thousand runs need little memory.

mod changes;
mod find;
mod overview;
mod page;
mod panel;
mod series;

use std::path::Path;

use crate::folder::{self, FolderError, write_atomically};

pub use changes::{ChangePoint, MOST_FALSE, find_changes};
pub use find::MOST_RUNS;
pub use overview::{History, Unreadable};
pub use series::{Basis, HistoryRun, Point, Series};

/// The page's file.
pub const HISTORY_FILE: &str = "history.html";

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

impl History {
    /// Reads all runs below a folder. A report that cannot be read is named, and is no error.
    ///
    /// # Errors
    /// The folder itself cannot be read.
    pub fn read(dir: &Path) -> Result<History, FolderError> {
        let found = find::runs_below(dir)?;
        let mut collected = series::Collected::default();
        let mut unreadable = Vec::new();
        for folder in found.folders {
            let shown = folder.strip_prefix(dir).unwrap_or(&folder).display().to_string();
            match find::check(&folder).and_then(|()| folder::load(&folder)) {
                Ok(record) => collected.add(&shown, &record),
                Err(error) => unreadable.push(Unreadable {
                    folder: shown,
                    why: first_line(&error.to_string()).replace(&format!("{}/", dir.display()), ""),
                }),
            }
        }
        let (runs, machines, series) = collected.finish();
        Ok(History {
            runs,
            machines,
            series,
            unreadable,
            left_out: found.left_out,
        })
    }

    /// Writes the page into the folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), FolderError> {
        write_atomically(&dir.join(HISTORY_FILE), page::page(self).as_bytes())
    }
}
