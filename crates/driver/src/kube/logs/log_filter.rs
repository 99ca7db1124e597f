//! One connection to a container's log: which streams it carries, and what is removed from it.

use crate::kube::logs::argo_lines::ArgoLineFilter;
use crate::kube::logs::trailer::TrailerScanner;
use crate::kube::workload::kind::WorkloadKind;
use crate::log::Stream;

/// Which of the container's streams one connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStreams {
    /// Standard output and standard error, joined.
    Both,
    /// One stream alone.
    One(Stream),
}

impl LogStreams {
    /// What the request adds to a request for both streams.
    pub fn query(self) -> &'static str {
        match self {
            LogStreams::Both => "",
            LogStreams::One(Stream::Stdout) => "&stream=Stdout",
            LogStreams::One(Stream::Stderr) => "&stream=Stderr",
        }
    }

    /// The task's stream that the output counts as.
    pub fn target(self) -> Stream {
        match self {
            LogStreams::Both => Stream::Stdout,
            LogStreams::One(stream) => stream,
        }
    }

    /// Bytes that the runner passed on in these streams.
    pub fn expected(self, [stdout, stderr]: [u64; 2]) -> u64 {
        match self {
            LogStreams::Both => stdout + stderr,
            LogStreams::One(Stream::Stdout) => stdout,
            LogStreams::One(Stream::Stderr) => stderr,
        }
    }
}

/// Removes what is not the task's output.
pub enum LogFilter {
    /// Removes the runner's report, if there is a token.
    Report(TrailerScanner),
    /// Removes the lines of Argo's program.
    Argo(ArgoLineFilter),
}

impl LogFilter {
    /// The filter for these streams of a pod.
    pub fn new(streams: LogStreams, kind: WorkloadKind, token: Option<&str>) -> LogFilter {
        match (kind, streams) {
            (WorkloadKind::Workflow, LogStreams::Both | LogStreams::One(Stream::Stderr)) => {
                LogFilter::Argo(ArgoLineFilter::default())
            }
            _ => LogFilter::Report(TrailerScanner::new(token)),
        }
    }

    /// Takes a piece of the log. Adds to `passed` what the task wrote, and returns the report once it is complete.
    pub fn take(&mut self, piece: &[u8], passed: &mut Vec<u8>) -> Option<String> {
        match self {
            LogFilter::Report(scanner) => scanner.take(piece, passed),
            LogFilter::Argo(filter) => {
                filter.take(piece, passed);
                None
            }
        }
    }

    /// Ends the log: what was held back is the task's output.
    pub fn finish(&mut self) -> Vec<u8> {
        match self {
            LogFilter::Report(scanner) => scanner.finish(),
            LogFilter::Argo(filter) => filter.finish(),
        }
    }
}
