//! Watches the service during the run: its metrics, and which tasks its list shows as ended.

use std::collections::HashSet;

use hybrid_cache_api::{Client, ClientError, ListQuery, StateName, TaskId};
use hybrid_cache_model::load::{LoadRow, LoadService, MemorySource};

use super::board::{Board, WORKERS};
use crate::via::metrics;

/// Number of tasks on one page of the list.
const PAGE_SIZE: u32 = 200;
/// Maximum number of pages that a quick look reads; the tasks that ended last are on the first ones.
const MAX_QUICK_PAGES: usize = 10;
/// Maximum number of tasks that one look requests by id, after a look through the whole list missed them.
const MAX_REQUESTS_BY_ID: usize = 20;

/// How far a look goes through the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// As long as it finds ended tasks.
    Quick,
    /// Through all tasks since the oldest active one.
    Whole,
}

/// Cumulative values of the service's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    /// Kept tasks plus expired tasks.
    made: Option<u64>,
    ended: Option<u64>,
    /// Submits to the current process: the value shrinks if the service was restarted.
    submits: Option<u64>,
}

/// Watches the service.
pub struct Watcher<'a> {
    client: &'a Client,
    board: &'a Board,
    /// Process id of the service, if it is a child of this process.
    process: Option<u32>,
    source: MemorySource,
    disk_limit: Option<u64>,
    first: Totals,
    last: Totals,
    restarted: bool,
}

impl<'a> Watcher<'a> {
    /// Reads the metrics for the first time, before the first arrival.
    ///
    /// # Errors
    /// The service does not answer.
    pub fn new(client: &'a Client, board: &'a Board, process: Option<u32>) -> Result<Watcher<'a>, ClientError> {
        let mut watcher = Watcher {
            client,
            board,
            process,
            source: MemorySource::Unknown,
            disk_limit: None,
            first: Totals::default(),
            last: Totals::default(),
            restarted: false,
        };
        watcher.metrics()?;
        watcher.first = watcher.last;
        Ok(watcher)
    }

    /// Reads the metrics and records them.
    ///
    /// # Errors
    /// The service does not answer.
    pub fn metrics(&mut self) -> Result<(), ClientError> {
        let text = self.client.metrics()?;
        self.board.heard();
        let sum = |name| metrics::sum(&text, name);
        let memory = match (sum("resident_bytes"), self.process) {
            (Some(bytes), _) => {
                self.source = MemorySource::Metrics;
                Some(bytes)
            }
            (None, Some(process)) => {
                self.source = MemorySource::Process;
                resident_bytes(process)
            }
            (None, None) => None,
        };
        let totals = Totals {
            made: sum("tasks")
                .zip(sum("tasks_expired_total"))
                .map(|(kept, gone)| kept + gone),
            ended: sum("tasks_ended_total"),
            submits: sum("submit_seconds_count"),
        };
        self.restarted |= totals.submits < self.last.submits;
        self.last = totals;
        self.disk_limit = sum("kept_bytes_limit");
        let row = LoadRow {
            waiting: sum("queue_depth"),
            running: sum("tasks_under_way"),
            memory_bytes: memory,
            disk_bytes: sum("kept_bytes"),
            ..LoadRow::default()
        };
        let at = self.board.began.elapsed();
        self.board.tally().series.note(at, row);
        Ok(())
    }

    /// Searches the list for ended tasks of this run. Returns how many it found.
    ///
    /// # Errors
    /// The service does not answer.
    pub fn list(&self, depth: Depth) -> Result<usize, ClientError> {
        let (mut left, most) = self.on_their_way();
        let states = match depth {
            Depth::Quick => vec![StateName::Ended, StateName::Cancelled],
            Depth::Whole => Vec::new(),
        };
        let most = if depth == Depth::Quick { MAX_QUICK_PAGES } else { most };
        let mut query = ListQuery {
            states,
            limit: Some(PAGE_SIZE),
            ..ListQuery::default()
        };
        let mut found = 0;
        for _ in 0..most {
            let part = self.client.list(&query)?;
            self.board.heard();
            let settled = self.board.settle(part.items.iter());
            found += settled;
            for task in &part.items {
                left.remove(&task.id);
            }
            query.cursor = part.next;
            if query.cursor.is_none() || left.is_empty() || (depth == Depth::Quick && settled == 0) {
                break;
            }
        }
        if depth == Depth::Whole {
            found += self.ask_for(left.into_iter().take(MAX_REQUESTS_BY_ID))?;
        }
        Ok(found)
    }

    /// Ids of tasks that the list must show, and in how many parts of it they are where nobody else submits.
    fn on_their_way(&self) -> (HashSet<TaskId>, usize) {
        let tally = self.board.tally();
        let ids = tally.open.keys().cloned().collect();
        let oldest = tally.open.values().map(|open| open.index).min().unwrap_or_default();
        drop(tally);
        let newest = self.board.schedule().arrived();
        // Workers submit concurrently, so neighbours may have changed places.
        let since = newest.saturating_sub(oldest) + 2 * WORKERS as u64;
        (
            ids,
            usize::try_from(since / u64::from(PAGE_SIZE) + 2).unwrap_or(usize::MAX),
        )
    }

    /// What the list did not show is asked for by its id, before it is called lost.
    fn ask_for(&self, ids: impl Iterator<Item = TaskId>) -> Result<usize, ClientError> {
        let mut found = 0;
        for id in ids {
            match self.client.get(&id) {
                Ok(task) => found += self.board.settle(std::iter::once(&task.summary)),
                Err(ClientError::Refused { problem, .. }) if problem.status == 404 => self.board.tally().lose(&id),
                Err(error) => return Err(error),
            }
            self.board.heard();
        }
        Ok(found)
    }

    /// What the service reported about itself, after the tasks were counted.
    pub fn service_report(&self, own: bool) -> LoadService {
        let deleted = self.board.tally().deleted;
        let since = |last: Option<u64>, first: Option<u64>| last?.checked_sub(first?).filter(|_| !self.restarted);
        LoadService {
            own,
            memory: self.source,
            made: since(self.last.made.map(|made| made + deleted), self.first.made),
            ended: since(self.last.ended, self.first.ended),
            disk_limit_bytes: self.disk_limit,
        }
    }
}

/// Bytes of memory that a process uses (source: proc_pid_status(5), `VmRSS`).
fn resident_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_one_that_is_gone_has_none() {
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 20);
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
