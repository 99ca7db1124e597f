//! Load: tasks arrive at a fixed rate through the task service, whether or not it keeps up.
//!
//! Open loop, as wrk2 does it: arrivals come from a schedule, and each latency counts from the scheduled time and not from
//! the request, so that a service that stalls does not hide its stall by being asked less often (Gil Tene's *coordinated
//! omission*). Latencies go into HdrHistograms, and what is seen over time into a bounded number of rows.

mod board;
mod drive;
mod interruption;
mod listed;
mod options;
mod own_service;
mod run;
mod schedule;
mod series;
#[cfg(test)]
mod tests;
mod verdict;
mod watch;
mod worker;

pub use options::{LoadOptions, LoadedService, ServiceProgram};
pub use run::{LoadEnd, LoadMeasured, run};
pub use verdict::{LoadVerdict, judge};
