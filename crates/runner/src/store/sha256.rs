//! The SHA-256 of one file, as requirements files and indexes write it.

use std::io::{self, Write};
use std::path::Path;

use sha2::Digest as _;

/// The hash of a file in hexadecimal digits.
pub fn of_file(path: &Path) -> io::Result<String> {
    struct Hasher(sha2::Sha256);
    impl Write for Hasher {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hasher = Hasher(sha2::Sha256::new());
    io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
