//! How many public requirements files are accepted: measured on a folder of them.
//!
//! The files themselves are strangers' and not in this repository; only their names and what came of them are, in
//! `docs/compatibility/`. `UPDATE_COMPATIBILITY=1` writes what was measured; `docs/compatibility.md` tells it.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod files;
#[path = "../python_support/mod.rs"]
mod python_support;

use std::path::{Path, PathBuf};

/// True if the files in the repository are to be written anew.
fn is_update() -> bool {
    std::env::var_os("UPDATE_COMPATIBILITY").is_some()
}

/// A file of the documentation.
fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}
