//! How Ctrl-C reaches the work, wherever it is.

use std::sync::atomic::{AtomicBool, AtomicU32};

use crate::via::task::Control;

/// What the one who hears Ctrl-C and the one who works know of each other.
#[derive(Default)]
pub struct Interruption {
    /// True once Ctrl-C was pressed.
    pub is: AtomicBool,
    /// Of the runs that warm the caches.
    pub control: Control,
    /// The process id of the run's own service; 0 if there is none.
    pub process: AtomicU32,
}
