//! Passes Ctrl-C to the running work, whatever it is doing.

use std::sync::atomic::{AtomicBool, AtomicU32};

use crate::via::task::Control;

/// State that the Ctrl-C handler and the working thread share.
#[derive(Default)]
pub struct Interruption {
    /// True after Ctrl-C was pressed.
    pub is: AtomicBool,
    /// Control of the runs that warm the caches.
    pub control: Control,
    /// Process id of the run's own service; 0 if there is none.
    pub process: AtomicU32,
}
