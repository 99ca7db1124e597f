//! How far a task had come when this process began to run it.

use std::time::Duration;

use tokio::time::Instant;

use super::inner::Inner;

/// How far a task had come when this process began to run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The driver does not know it.
    Fresh,
    /// The driver may know it, from this process or an earlier one.
    Uncertain {
        /// When it may have run and been forgotten by the driver; `None` means never.
        until: Option<Instant>,
    },
    /// The driver has it.
    Submitted,
}

impl Stage {
    /// The driver may have received the task `age` ago, and did not answer since.
    pub fn uncertain(inner: &Inner, age: Duration) -> Stage {
        // A call in progress may still be answered with what the driver forgets meanwhile.
        let safe = inner.driver.remembers().saturating_sub(inner.config.driver_call * 2);
        Stage::Uncertain {
            until: Instant::now().checked_add(safe.saturating_sub(age)),
        }
    }

    /// True if submitting the task again might run it twice.
    pub fn is_forgotten(self) -> bool {
        matches!(self, Stage::Uncertain { until: Some(until) } if Instant::now() >= until)
    }
}
