//! A trace in a file, read from the beginning in each pass: memory holds the catalog, not the requests.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use hybrid_cache_sizing::trace::{Faults, Reader, TraceError};
use hybrid_cache_sizing::{Catalog, Event, Source};
use hybrid_cache_tools::{Error, ErrorContext, Result};

/// Longest line of a trace: a header lists what is resident, which is a few megabytes at most.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// A trace, with the facts from its first pass.
pub struct TraceFile {
    file: File,
    catalog: Catalog,
    faults: Faults,
}

impl TraceFile {
    /// Opens the file and reads the trace once.
    ///
    /// # Errors
    /// The trace cannot be read, or is not a trace.
    pub fn open(path: &Path) -> Result<TraceFile> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Error::input(format!("{name}: {error}")))?;
        if !file.metadata().is_ok_and(|found| found.is_file()) {
            return Err(Error::input(format!(
                "{name} is not a file\nhint: give the path of the trace file itself"
            )));
        }
        TraceFile::first_pass(&name, file)
    }

    /// Copies the trace of a stream to a temporary file, because it is read several times, and reads it once. `name` is the
    /// stream's name in errors.
    ///
    /// # Errors
    /// The stream cannot be read or copied, or is not a trace.
    pub fn spool(name: &str, mut stream: impl Read) -> Result<TraceFile> {
        let mut file = tempfile::tempfile().context("making a temporary file")?;
        std::io::copy(&mut stream, &mut file).with_context(|| format!("copying {name} to a temporary file"))?;
        TraceFile::first_pass(name, file)
    }

    fn first_pass(name: &str, file: File) -> Result<TraceFile> {
        let (catalog, faults) = read(&file, &mut |_| {}).map_err(|error| Error::input(format!("{name}: {error}")))?;
        Ok(TraceFile { file, catalog, faults })
    }

    /// Warnings about single lines.
    pub fn warnings(&self) -> Vec<String> {
        describe_faults(&self.faults)
    }
}

/// The faults of a trace in words.
pub fn describe_faults(faults: &Faults) -> Vec<String> {
    let first = faults.first.iter();
    let mut warnings: Vec<String> = first
        .map(|fault| format!("line {}: {}", fault.line, fault.kind))
        .collect();
    let more = faults.count - warnings.len() as u64;
    if more > 0 {
        warnings.push(format!("{more} more lines are invalid"));
    }
    warnings
}

impl Source for TraceFile {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn replay(&self, each: &mut dyn FnMut(&Event)) -> Result<(), TraceError> {
        read(&self.file, each).map(drop)
    }
}

fn read(file: &File, each: &mut dyn FnMut(&Event)) -> Result<(Catalog, Faults), TraceError> {
    let mut reader = Reader::new();
    lines(file, &mut |line, is_whole| reader.line(line, is_whole, each))?;
    reader.finish()
}

/// Receives a line without its line break; the second value is false for a last line without one.
type EachLine<'a> = dyn FnMut(&[u8], bool) -> Result<(), TraceError> + 'a;

/// Calls `each` with every line of a file, from its beginning.
///
/// # Errors
/// The file cannot be read, a line is too long, or the error of `each`.
pub fn lines(mut file: &File, each: &mut EachLine<'_>) -> Result<(), TraceError> {
    let unreadable = |error: std::io::Error| TraceError::Unreadable(format!("the trace cannot be read: {error}"));
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut lines = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = lines
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(unreadable)?;
        if length == 0 {
            return Ok(());
        }
        let is_whole = line.pop_if(|last| *last == b'\n').is_some();
        if !is_whole && length as u64 == MAX_LINE_BYTES {
            return Err(TraceError::Unreadable(format!(
                "a line is longer than {MAX_LINE_BYTES} bytes"
            )));
        }
        each(&line, is_whole)?;
    }
}
