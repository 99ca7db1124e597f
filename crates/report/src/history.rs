//! Many runs over time: each group's medians as one series for each machine, with the points at which it changed.
//!
//! Only points are kept of a run, so that a thousand runs need little memory.

mod changes;
mod find;
mod page;
mod panel;
mod series;

use std::path::Path;

use hybrid_cache_model::sample::Completion;
use serde::Serialize;

use crate::folder::{self, FolderError, write_atomically};
use crate::units;

pub use changes::{ChangePoint, MOST_FALSE, find_changes};
pub use find::MOST_RUNS;
pub use series::{Basis, Point, Series};

/// The page's file.
pub const HISTORY_FILE: &str = "history.html";

/// All runs below a folder.
#[derive(Debug, Serialize)]
pub struct History {
    /// Every run that could be read, by its start.
    pub runs: Vec<HistoryRun>,
    /// What the runs were measured on; the driver is part of it.
    pub machines: Vec<String>,
    /// One for each machine, scenario and temperature.
    pub series: Vec<Series>,
    /// Folders with a report that could not be read, and why.
    pub unreadable: Vec<Unreadable>,
    /// Runs that were left out beyond [`MOST_RUNS`]: those whose folders come first by name.
    pub left_out: usize,
}

/// One run.
#[derive(Debug, Serialize)]
pub struct HistoryRun {
    /// Its folder, relative to that of the history.
    pub folder: String,
    /// Start, RFC 3339.
    pub started_at: String,
    /// git revision.
    pub revision: String,
    /// True if the checkout had uncommitted changes.
    pub dirty: bool,
    /// Position in [`History::machines`].
    pub machine: usize,
    /// Whether it came to its end.
    pub completion: Completion,
    /// Samples that count.
    pub accepted: usize,
    /// All samples.
    pub samples: usize,
}

/// A folder whose report could not be read.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    /// The folder, relative to that of the history.
    pub folder: String,
    /// Why, in a line.
    pub why: String,
}

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

    /// Every change with its series, the latest first.
    pub fn changes(&self) -> Vec<(&Series, &ChangePoint)> {
        let series = self.series.iter();
        let mut all: Vec<(&Series, &ChangePoint)> = series
            .flat_map(|series| series.changes.iter().map(move |change| (series, change)))
            .collect();
        all.sort_by_key(|(_, change)| std::cmp::Reverse(change.after));
        all
    }

    /// A change in a sentence without a full stop.
    pub fn sentence(&self, series: &Series, change: &ChangePoint) -> String {
        let (before, after) = (&self.runs[change.before], &self.runs[change.after]);
        let revision = |run: &HistoryRun| run.revision.chars().take(12).collect::<String>();
        let relative = match (series.basis, series.peer) {
            (Basis::ToPeer, Some(peer)) => format!(", relative to {}", peer.short_name()),
            _ => String::new(),
        };
        format!(
            "{}: {} as long{relative}, since {} ({}); the run before was {} ({})",
            series.title(),
            crate::cells::ratio(&change.ratio),
            after.started_at,
            revision(after),
            before.started_at,
            revision(before),
        )
    }

    /// What a terminal shows: the numbers, then each change.
    pub fn lines(&self) -> Vec<String> {
        let changes = self.changes();
        let head = format!(
            "{} runs on {} machines, {} series, {} changes",
            self.runs.len(),
            self.machines.len(),
            self.series.len(),
            changes.len()
        );
        let each = changes.iter().map(|(series, change)| self.sentence(series, change));
        let left = (self.left_out > 0).then(|| {
            let (left, most) = (units::count(self.left_out as u64), MOST_RUNS);
            format!("{left} runs are left out: at most {most} are read, the last by the names of their folders")
        });
        let broken = self
            .unreadable
            .iter()
            .map(|one| format!("not read: {}: {}", one.folder, one.why));
        std::iter::once(head)
            .chain(each)
            .chain(left)
            .chain(broken)
            .map(|line| crate::cells::plain(&line))
            .collect()
    }

    /// Writes the page into the folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), FolderError> {
        write_atomically(&dir.join(HISTORY_FILE), page::page(self).as_bytes())
    }
}
