//! What the program reads from its standard input.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::process::Stdio;

use hybrid_cache_model::{Failure, FailureKind};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// The task's text, or nothing. A file in memory needs nobody who writes it while the program runs.
///
/// # Errors
/// The kernel has no memory for it.
pub fn of(text: &str) -> Result<Stdio, Failure> {
    if text.is_empty() {
        return Ok(Stdio::null());
    }
    let failed = |error| {
        let message = format!("the program's standard input cannot be kept in memory: {error}");
        Failure::new(FailureKind::Sandbox, message)
    };
    sealed(text).map(Stdio::from).map_err(failed)
}

fn sealed(text: &str) -> io::Result<File> {
    let mut file = empty()?;
    fill(&mut file, text)?;
    Ok(file)
}

/// An empty file in memory.
///
/// # Errors
/// The kernel has no memory for it.
pub fn empty() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(File::from(memfd_create("stdin", flags)?))
}

/// Writes the text into an empty file in memory, whose reader begins at the first byte.
///
/// # Errors
/// The kernel has no memory for it, or somebody has mapped it.
pub fn fill(file: &mut File, text: &str) -> io::Result<()> {
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len().try_into().map_err(io::Error::other)?)?;
    file.rewind()?;
    // Sealed, the program cannot let it grow beyond its bounds.
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(fcntl_add_seals(&*file, seals)?)
}
