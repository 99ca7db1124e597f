//! The engine without an interface: over scripted drivers, with real files and real kills.
//!
//! All of it is one program, which starts itself again if a test needs another process. A test that needs what this
//! machine lacks prints `skipped: <test>: <why>` and ends.

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
