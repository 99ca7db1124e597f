//! The command line as a person meets it: exit codes, what is on which stream, and what refusals say.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod bench;
mod first_contact;
mod levels;
mod load;
mod mirror;
mod output;
mod peers;
mod program;
mod pythons;
mod refused;
mod results;
mod run;
mod serve;
mod size;
mod trace;
mod via;
mod watch;
