//! The command line as a person meets it: exit codes, what is on which stream, and what refusals say.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/load.rs"]
mod load;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/program.rs"]
mod program;
#[path = "cli/refused.rs"]
mod refused;
#[path = "cli/results.rs"]
mod results;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/serve.rs"]
mod serve;
#[path = "cli/size.rs"]
mod size;
#[path = "cli/trace.rs"]
mod trace;
#[path = "cli/via.rs"]
mod via;
#[path = "cli/watch.rs"]
mod watch;
