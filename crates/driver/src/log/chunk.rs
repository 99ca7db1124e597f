//! One piece of a task's output.

/// One of the two output streams of the user's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The stream that it was written to.
    pub stream: Stream,
    /// The bytes. They need not be UTF-8 or whole lines.
    pub bytes: Vec<u8>,
}
