//! The last result of the write check, shared by all callers.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

/// The last result of the write check.
pub struct ReadyState {
    pub last: Mutex<Option<(Instant, Option<String>)>>,
    /// Held by a write to the volume, so that one that hangs is not followed by more.
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
