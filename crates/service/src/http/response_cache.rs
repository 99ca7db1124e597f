//! Tasks as they were told last, kept in memory for as long as no task changes.
//!
//! Whoever waits for a task or shows it on a page asks for it again and again. What does not change by itself is told from
//! here; the first change of any task, counted before whoever made it has an answer, empties it. So nobody reads
//! what they know to be over.

use hybrid_cache_api::TaskId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use hybrid_cache_model::Tenant;

use crate::engine::Changes;

/// Most bytes that are kept.
const MAX_BYTES: usize = 16 << 20;
/// Most bytes of one task that is kept.
const MAX_TASK_BYTES: usize = 256 << 10;

/// The kept answers.
pub struct ResponseCache {
    state: Mutex<State>,
}

struct State {
    changes: Changes,
    /// Raised by each change.
    age: Age,
    told: HashMap<Key, Bytes>,
    bytes: usize,
}

/// To whom, and which task: what was told to one tenant is not told to another.
pub type Key = (Tenant, TaskId);

/// How many changes there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(u64);

impl ResponseCache {
    /// Nothing yet.
    pub fn new(changes: Changes) -> ResponseCache {
        ResponseCache {
            state: Mutex::new(State {
                changes,
                age: Age(0),
                told: HashMap::new(),
                bytes: 0,
            }),
        }
    }

    /// What was told of this task, where nothing has changed since; what to keep the next answer with, otherwise.
    pub fn recall(&self, key: &Key) -> Result<Bytes, Age> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look();
        state.told.get(key).cloned().ok_or(state.age)
    }

    /// Keeps an answer that was read after `age` was told.
    pub fn keep(&self, age: Age, key: Key, told: &Bytes) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look();
        if state.age != age || told.len() > MAX_TASK_BYTES {
            return;
        }
        if state.bytes + told.len() > MAX_BYTES {
            state.forget();
        }
        state.bytes += told.len();
        if let Some(before) = state.told.insert(key, told.clone()) {
            state.bytes -= before.len();
        }
    }
}

impl State {
    /// Forgets everything where something has changed since the last look.
    fn look(&mut self) {
        // Unconstrained, for a task that has used up its turn would be told that nothing changed.
        let changed = tokio::task::unconstrained(self.changes.next()).now_or_never();
        if changed.is_some() {
            self.age.0 += 1;
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.told.clear();
        self.bytes = 0;
    }
}
