//! Writes all files of a recorded trace to one file.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use hybrid_cache_driver::trace::files_in;
use hybrid_cache_sizing::trace::{Anonymiser, Header, RequestLine, TraceError};
use hybrid_cache_tools::{Error, ErrorClass, ErrorContext, Result};

use crate::trace::file;

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportCount {
    /// Requests that were written.
    pub requests: u64,
    /// Lines that were left out because they are truncated or of another version of the format.
    pub left_out: u64,
}

/// Writes all files of a folder as one trace to a file, which appears when it is complete.
///
/// # Errors
/// A file cannot be read or written.
pub fn export_to_file(folder: &Path, out: &Path, anonymise: bool) -> Result<ExportCount> {
    let context = || format!("writing {}", out.display());
    let beside = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let file = tempfile::NamedTempFile::new_in(beside).with_context(context)?;
    let mut to = BufWriter::new(file);
    let count = export(folder, anonymise, &mut to)?;
    let file = to
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .with_context(context)?;
    file.persist(out).map_err(|error| error.error).with_context(context)?;
    Ok(count)
}

/// Writes all files of a folder as one trace.
///
/// # Errors
/// A file cannot be read, or the trace cannot be written.
pub fn export(folder: &Path, anonymise: bool, to: &mut impl Write) -> Result<ExportCount> {
    let mut anonymiser = anonymise.then(Anonymiser::default);
    let mut count = ExportCount::default();
    for path in files_in(folder).with_context(|| format!("reading {}", folder.display()))? {
        let file = match File::open(&path) {
            // Rotation has deleted the file since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            opened => opened.with_context(|| format!("opening {}", path.display()))?,
        };
        file::lines(&file, &mut |line, _| {
            if let Some(mut text) = exported(line, &mut anonymiser, &mut count) {
                text.push('\n');
                to.write_all(text.as_bytes())
                    .map_err(|error| TraceError::Unreadable(format!("the export cannot be written: {error}")))?;
            }
            Ok(())
        })
        .map_err(|error| Error::other(ErrorClass::Failed, error))?;
    }
    Ok(count)
}

/// A line as it is exported; `None` if it is not a line of a trace.
fn exported(line: &[u8], anonymiser: &mut Option<Anonymiser>, count: &mut ExportCount) -> Option<String> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let text = if line.starts_with(b"{\"hybrid_cache_trace\"") {
        let header: Option<Header> = serde_json::from_slice(line).ok();
        header.and_then(|header| match anonymiser {
            Some(anonymiser) => serde_json::to_string(&anonymiser.header(header)).ok(),
            None => serde_json::to_string(&header).ok(),
        })
    } else {
        let request: Option<RequestLine> = serde_json::from_slice(line).ok();
        count.requests += u64::from(request.is_some());
        request.and_then(|request| match anonymiser {
            Some(anonymiser) => serde_json::to_string(&anonymiser.request(request)).ok(),
            None => serde_json::to_string(&request).ok(),
        })
    };
    count.left_out += u64::from(text.is_none());
    text
}
