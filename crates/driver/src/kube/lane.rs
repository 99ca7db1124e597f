//! One connection to a container's log, and which of its streams that carries.

use crate::log::Stream;

/// Which of the container's streams one connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Standard output and standard error, joined.
    Both,
    /// One of them.
    One(Stream),
}

impl Lane {
    /// What the request for it says beyond that for both.
    pub fn query(self) -> &'static str {
        match self {
            Lane::Both => "",
            Lane::One(Stream::Stdout) => "&stream=Stdout",
            Lane::One(Stream::Stderr) => "&stream=Stderr",
        }
    }

    /// As which stream of the task it counts.
    pub fn target(self) -> Stream {
        match self {
            Lane::Both => Stream::Stdout,
            Lane::One(stream) => stream,
        }
    }

    /// Bytes that the runner passed on by this way.
    pub fn expected(self, [stdout, stderr]: [u64; 2]) -> u64 {
        match self {
            Lane::Both => stdout + stderr,
            Lane::One(Stream::Stdout) => stdout,
            Lane::One(Stream::Stderr) => stderr,
        }
    }
}
