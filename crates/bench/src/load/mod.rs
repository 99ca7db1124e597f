//! Load: tasks arrive at a fixed rate through the task service, whether or not the service keeps up.
//!
//! Open loop, like wrk2: arrivals come from a schedule, and each latency counts from the scheduled time and not from the request.
//! A service that stalls therefore cannot hide its stall by receiving fewer requests (Gil Tene's *coordinated omission*).
//! Latencies are stored in HdrHistograms, and observations over time in a bounded number of rows.

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
pub use verdict::{BEHIND, LoadVerdict, judge};
