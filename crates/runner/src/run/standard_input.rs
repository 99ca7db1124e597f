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
    let mut file = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    // Sealed, the program cannot let it grow beyond its bounds.
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(file)
}
