//! Where the checkout, this program and the one that it starts are.

use std::env;
use std::io;
use std::path::PathBuf;

/// Where everything is.
pub struct Paths {
    /// The root of the workspace.
    pub root: PathBuf,
    /// This program. Cargo builds it anew after a change of compiler, flags or profile.
    pub launcher: PathBuf,
    /// The program to start.
    pub program: PathBuf,
}

impl Paths {
    /// Finds it from cargo's word and from the folder of this program.
    ///
    /// # Errors
    /// The checkout was moved away.
    pub fn find() -> io::Result<Paths> {
        let launcher = env::current_exe()?;
        // Cargo tells what it runs; without cargo, the place at build time is the best guess.
        let own = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = PathBuf::from(own).join("../..").canonicalize()?;
        let program = launcher.with_file_name("xtask");
        Ok(Paths {
            root,
            launcher,
            program,
        })
    }
}
