//! Reads a task in the form of the API from a file that a command line names.

use std::io::Read;
use std::path::Path;

use hybrid_cache_model::TaskSpec;

use crate::{Error, Result};

/// Largest task file, in bytes: it holds the largest code with every character escaped, and the other fields.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// The task in a file, or on standard input if the file is `-`.
///
/// # Errors
/// The file cannot be read, is too large, or holds no task.
pub fn read(file: &Path) -> Result<TaskSpec> {
    let name = file.display();
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| Error::input(format!("{name}: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::input(format!("{name}: more than {MAX_FILE_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::input(format!("{name}: not UTF-8 at byte {at}\nhint: save the file as UTF-8"))
    })?;
    // serde_json's own message ends with line and column.
    serde_json::from_str(&text).map_err(|error| Error::input(format!("{name}: {error}")))
}
