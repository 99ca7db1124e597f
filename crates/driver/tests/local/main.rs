//! The local driver end to end: real uv, Nix and bubblewrap, real packages.
//!
//! All of it is one program, so that its tests can share warm caches. A test that needs what this machine lacks says
//! `skipped: <test>: <why>` and ends.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod access;
mod bench;
mod builds;
mod confinement;
mod crash;
mod ends;
mod full;
mod network;
mod offline;
mod output;
mod programs;
mod public_files;
mod pythons;
mod race;
mod resources;
mod roles;
mod sandbox;
mod scripts;
mod settings;
mod share;
mod tasks;
mod trace;
mod unchanged;
