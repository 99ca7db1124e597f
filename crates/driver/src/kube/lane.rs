//! One connection to a container's log: which of its streams that carries, and what is taken out of it.

use super::noise::Filter;
use super::trailer::Scanner;
use super::workload::Kind;
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

/// What is in a lane beside the task's output.
pub enum Sieve {
    /// The runner's report, where there is a token.
    Report(Scanner),
    /// Lines of Argo's own program.
    Argo(Filter),
}

impl Sieve {
    /// For a lane of a pod.
    pub fn of(lane: Lane, kind: Kind, token: Option<&str>) -> Sieve {
        match (kind, lane) {
            (Kind::Workflow, Lane::Both | Lane::One(Stream::Stderr)) => Sieve::Argo(Filter::default()),
            _ => Sieve::Report(Scanner::new(token)),
        }
    }

    /// Takes a piece of the log. Adds to `passed` what the task wrote, and returns the report once all of it has come.
    pub fn take(&mut self, piece: &[u8], passed: &mut Vec<u8>) -> Option<String> {
        match self {
            Sieve::Report(scanner) => scanner.take(piece, passed),
            Sieve::Argo(filter) => {
                filter.take(piece, passed);
                None
            }
        }
    }

    /// The log has ended: what was held back is the task's.
    pub fn finish(&mut self) -> Vec<u8> {
        match self {
            Sieve::Report(scanner) => scanner.finish(),
            Sieve::Argo(filter) => filter.finish(),
        }
    }
}
