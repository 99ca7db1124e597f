//! Attacks on a driver, its caches and the task service, as data: what each tries, which promise it tests, and how to judge it.
//! Faults likewise, in [`chaos`]: what is killed, filled up or taken away, and what must still hold.
//!
//! An [`Attack`] runs on an [`AttackContext`], which is a driver with caches of its own. A task that attacks is a Python program
//! that prints one line of JSON about what it could do; a package that attacks is a wheel built in memory ([`wheel`]) and
//! offered from a folder; attacks on the service talk HTTP to a service on loopback ([`service`]). Nothing is sent to
//! another machine, every wait has a deadline, and everything that an attack made is deleted afterwards.
//!
//! The library knows no flags, no terminal and no exit codes. `cargo xtask attack` prints what it finds, and
//! `tests/mutations_*.rs` take each protection out to show that the list notices.

pub mod attack;
pub mod attack_context;
pub mod caches;
pub mod chaos;
pub mod error;
pub mod list;
pub mod listed;
pub mod local;
pub mod local_caches;
pub mod probe;
pub mod promise;
pub mod prove;
pub mod run;
pub mod service;
pub mod site;
pub mod verdict;
pub mod volume;
pub mod wheel;

pub use attack::{Attack, AttackMethod};
pub use attack_context::AttackContext;
pub use error::TrialError;
pub use listed::{Listed, UnknownTrial, chosen};
pub use local::LocalSite;
pub use promise::{Promise, PromiseRow, Standing};
pub use run::{Trial, run};
pub use site::{Need, Site};
pub use verdict::Verdict;
