//! The last result of trying to write, shared by all who ask.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

/// What was tried last.
pub struct ReadyState {
    pub last: Mutex<Option<(Instant, Option<String>)>>,
    /// Held by a write to the volume: one that hangs is not followed by more.
    pub trying: Arc<Semaphore>,
}

impl Default for ReadyState {
    fn default() -> ReadyState {
        ReadyState {
            last: Mutex::default(),
            trying: Arc::new(Semaphore::new(1)),
        }
    }
}
