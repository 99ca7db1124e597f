//! The task service without its face: the engine over scripted drivers, real files and real kills.
//!
//! All of it is one program, which starts itself again where a test needs another process. A test that needs what this
//! machine lacks says `skipped: <test>: <why>` and ends.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod bench;
mod cluster;
mod crash;
mod faults;
mod flood;
mod flows;
mod full;
mod load;
mod local;
mod memory;
mod newer;
mod old;
mod output;
mod restart;
mod retention;
mod scripted;
