//! `cache trace export`: all files as one trace.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use hybrid_cache_driver::trace::files_in;
use hybrid_cache_sizing::trace::{Anonymiser, Header, RequestLine, TraceError};

use crate::exit::Exit;
use crate::size::file;

/// What an export came to.
#[derive(Default)]
struct Count {
    requests: u64,
    left_out: u64,
}

/// Writes the trace to a file, at one instant; `-` is standard output.
///
/// # Errors
/// A file cannot be read or written.
pub fn run(folder: &Path, out: &Path, anonymise: bool) -> Result<Exit> {
    let count = if out == Path::new("-") {
        let mut stdout = BufWriter::new(std::io::stdout().lock());
        let count = write(folder, anonymise, &mut stdout)?;
        stdout.flush()?;
        count
    } else {
        let told = || format!("writing {}", out.display());
        let beside = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::NamedTempFile::new_in(beside).with_context(told)?;
        let mut to = BufWriter::new(file);
        let count = write(folder, anonymise, &mut to)?;
        let file = to
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .with_context(told)?;
        file.persist(out).map_err(|error| error.error).with_context(told)?;
        count
    };
    eprintln!("{} requests were exported", count.requests);
    if count.left_out > 0 {
        eprintln!(
            "warning: {} lines were left out: they are torn, or not of this version of the format",
            count.left_out
        );
    }
    Ok(Exit::Good)
}

fn write(folder: &Path, anonymise: bool, to: &mut impl Write) -> Result<Count> {
    let mut anonymiser = anonymise.then(Anonymiser::default);
    let mut count = Count::default();
    for path in files_in(folder).with_context(|| format!("reading {}", folder.display()))? {
        let file = match File::open(&path) {
            // Rotation has taken it since.
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
        })?;
    }
    Ok(count)
}

/// A line as it is exported; `None` for one that is none.
fn exported(line: &[u8], anonymiser: &mut Option<Anonymiser>, count: &mut Count) -> Option<String> {
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
