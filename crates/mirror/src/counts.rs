//! What happened while the mirror served.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Most lines that are kept of each kind.
const MAX_LINES: usize = 200;

/// Counts and messages, each with a bound.
#[derive(Default)]
pub struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
    missing: Mutex<BTreeSet<String>>,
    problems: Mutex<BTreeSet<String>>,
}

impl Counts {
    /// A request was read.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of an answer's body were sent.
    pub fn sent(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Something was asked for that is not recorded.
    pub fn missing(&self, path: String) {
        note(&self.missing, path);
    }

    /// Something could not be recorded.
    pub fn problem(&self, line: String) {
        note(&self.problems, line);
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of bodies so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What was not recorded.
    pub fn all_missing(&self) -> Vec<String> {
        all(&self.missing)
    }

    /// What could not be recorded.
    pub fn all_problems(&self) -> Vec<String> {
        all(&self.problems)
    }
}

fn note(lines: &Mutex<BTreeSet<String>>, line: String) {
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() < MAX_LINES {
        lines.insert(line);
    }
}

fn all(lines: &Mutex<BTreeSet<String>>) -> Vec<String> {
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().cloned().collect()
}
