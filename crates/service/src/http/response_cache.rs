//! Keeps the responses for single tasks in memory until a task changes.
//!
//! Clients that wait for a task, and pages that show one, request it again and again. A response that does not change
//! by itself comes from here. The first change of any task empties the cache before the client that made the change
//! gets its response. So no client reads a state that it knows to be outdated.

use hybrid_cache_api::TaskId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use hybrid_cache_model::Tenant;

use crate::engine::Changes;

/// Most bytes of all responses.
const MAX_BYTES: usize = 16 << 20;
/// Most bytes of one response.
const MAX_TASK_BYTES: usize = 256 << 10;

/// The kept responses.
pub struct ResponseCache {
    state: Mutex<State>,
}

struct State {
    changes: Changes,
    /// Grows with each change.
    age: Age,
    responses: HashMap<Key, Bytes>,
    bytes: usize,
}

/// The tenant and the task: a response belongs to one tenant.
pub type Key = (Tenant, TaskId);

/// The number of changes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(u64);

impl ResponseCache {
    /// An empty cache.
    pub fn new(changes: Changes) -> ResponseCache {
        ResponseCache {
            state: Mutex::new(State {
                changes,
                age: Age(0),
                responses: HashMap::new(),
                bytes: 0,
            }),
        }
    }

    /// The response for this task, if nothing has changed since. Otherwise the age to pass to [`ResponseCache::keep`]
    /// with a new response.
    pub fn recall(&self, key: &Key) -> Result<Bytes, Age> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look();
        state.responses.get(key).cloned().ok_or(state.age)
    }

    /// Keeps a response that was produced after `age` was read.
    pub fn keep(&self, age: Age, key: Key, response: &Bytes) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look();
        if state.age != age || response.len() > MAX_TASK_BYTES {
            return;
        }
        if state.bytes + response.len() > MAX_BYTES {
            state.forget();
        }
        state.bytes += response.len();
        if let Some(before) = state.responses.insert(key, response.clone()) {
            state.bytes -= before.len();
        }
    }
}

impl State {
    /// Empties the cache if something has changed since the last call.
    fn look(&mut self) {
        // Unconstrained, because tokio reports "no change" to a task that has used up its budget.
        let changed = tokio::task::unconstrained(self.changes.next()).now_or_never();
        if changed.is_some() {
            self.age.0 += 1;
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.responses.clear();
        self.bytes = 0;
    }
}
