//! A whole history: its runs, machines and series, and what changed, in words.

use serde::Serialize;

use super::changes::ChangePoint;
use super::find::MOST_RUNS;
use super::series::{Basis, HistoryRun, Series};
use crate::units;

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

/// A folder whose report could not be read.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    /// The folder, relative to that of the history.
    pub folder: String,
    /// Why, in a line.
    pub why: String,
}

impl History {
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
}
