//! How far a task had come when this process began to run it.

use std::time::Duration;

use tokio::time::Instant;

use super::inner::Inner;

/// How far a task had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The driver has never heard of it.
    Fresh,
    /// The driver may have heard of it, in this process or an earlier one.
    Uncertain {
        /// When it may have run and been forgotten; never where absent.
        until: Option<Instant>,
    },
    /// The driver has it.
    Submitted,
}

impl Stage {
    /// The driver may have heard of the task so long ago, and has not since.
    pub fn uncertain(inner: &Inner, age: Duration) -> Stage {
        // A call that is under way may still be answered by what is forgotten meanwhile.
        let safe = inner.driver.remembers().saturating_sub(inner.config.driver_call * 2);
        Stage::Uncertain {
            until: Instant::now().checked_add(safe.saturating_sub(age)),
        }
    }

    /// True where submitting the task again might run it twice.
    pub fn is_forgotten(self) -> bool {
        matches!(self, Stage::Uncertain { until: Some(until) } if Instant::now() >= until)
    }
}
