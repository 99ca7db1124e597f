//! Why something could not be recorded.

use std::sync::{Mutex, PoisonError};

/// The first reason why something could not be recorded; it is reported once.
#[derive(Default)]
pub struct Warnings {
    /// The reason, until it is taken, and whether there was one.
    state: Mutex<(Option<String>, bool)>,
}

impl Warnings {
    /// Notes a reason, unless there was one before.
    pub fn add(&self, reason: impl FnOnce() -> String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut state.1, true) {
            state.0 = Some(reason());
        }
    }

    /// Takes the reason, if there is one.
    pub fn take(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.take()
    }
}
