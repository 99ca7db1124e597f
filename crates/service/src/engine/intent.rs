//! What the service wants an active task to do.

/// What the service wants an active task to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Run to its end.
    Run,
    /// End: a client cancelled it.
    Cancel,
    /// The service shuts down: leave the task alone, or end it if it cannot outlive this process.
    Shutdown,
}
