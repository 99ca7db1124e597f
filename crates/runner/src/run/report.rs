//! Writes the report of a run to a descriptor or file that is opened before user code runs.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::RunReport;
use rustix::io::FdFlags;
use serde::Serialize;

use super::kernel;

/// Kubernetes truncates a longer termination message, which would break the JSON, so a report in a file is shortened.
const MAX_FILE_BYTES: usize = 4096;

/// A report goes.
#[derive(Debug)]
pub enum Destination {
    /// A descriptor the runner was started with.
    Descriptor(File),
    /// A truncated file, usually the termination message.
    File(File),
    /// Standard error, for a person at a terminal.
    StandardError,
}

/// Why a report cannot be written.
#[derive(Debug)]
pub struct ReportError {
    target: String,
    error: io::Error,
}

impl std::fmt::Display for ReportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write the report to {}: {}", self.target, self.error)
    }
}

impl std::error::Error for ReportError {}

impl Destination {
    /// Takes over the descriptor `number` and hides it from the user's program.
    ///
    /// # Errors
    /// The descriptor is not open.
    pub fn descriptor(number: i32) -> Result<Destination, ReportError> {
        let fail = |error: io::Error| ReportError {
            target: format!("descriptor {number}"),
            error,
        };
        let fd: OwnedFd = kernel::take_descriptor(number).map_err(fail)?;
        rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).map_err(|error| fail(error.into()))?;
        Ok(Destination::Descriptor(File::from(fd)))
    }

    /// Reports through the socket on standard input.
    ///
    /// # Errors
    /// Standard input is closed.
    pub fn back() -> Result<Destination, ReportError> {
        let copy = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3);
        let copy = copy.map_err(|error| ReportError {
            target: "standard input".to_owned(),
            error: error.into(),
        })?;
        Ok(Destination::Descriptor(File::from(copy)))
    }

    /// Opens the file at `path` without following a link.
    ///
    /// # Errors
    /// It cannot be opened for writing.
    pub fn file(path: &Path) -> Result<Destination, ReportError> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(flags)
            .open(path);
        let fail = |error| ReportError {
            target: PathBuf::from(path).display().to_string(),
            error,
        };
        opened.map(Destination::File).map_err(fail)
    }

    /// Writes a note that the report will replace, if it goes to a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&mut self, note: &str) -> Result<(), ReportError> {
        match self {
            Destination::File(file) => file.write_all(note.as_bytes()).map_err(|error| ReportError {
                target: "its file".to_owned(),
                error,
            }),
            Destination::Descriptor(_) | Destination::StandardError => Ok(()),
        }
    }

    /// Writes a message of another kind, whole.
    ///
    /// # Errors
    /// It cannot be written, or its reader has ended.
    pub fn write_whole(self, message: &impl Serialize) -> Result<(), ReportError> {
        let written = json(message).and_then(|text| match self {
            Destination::Descriptor(mut file) | Destination::File(mut file) => file.write_all(&text),
            Destination::StandardError => io::stderr().write_all(&text),
        });
        written.map_err(|error| ReportError {
            target: "its reader".to_owned(),
            error,
        })
    }

    /// Writes the report.
    ///
    /// # Errors
    /// It cannot be written, or its reader has ended.
    pub fn write(self, report: RunReport) -> Result<(), ReportError> {
        let fail = |target: &str| {
            let target = target.to_owned();
            move |error: io::Error| ReportError { target, error }
        };
        match self {
            Destination::Descriptor(mut file) => file
                .write_all(&json(&report).map_err(fail("JSON"))?)
                .map_err(fail("its descriptor")),
            Destination::File(mut file) => {
                let text = json(&fitted(report, MAX_FILE_BYTES)?).map_err(fail("JSON"))?;
                // A process of the same user may have written to it meanwhile.
                file.set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| file.write_all(&text))
                    .map_err(fail("its file"))
            }
            Destination::StandardError => io::stderr()
                .write_all(&json(&report).map_err(fail("JSON"))?)
                .map_err(fail("standard error")),
        }
    }
}

fn json(report: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(report)?;
    text.push(b'\n');
    Ok(text)
}

/// Leaves out the least important parts until the report has at most `max_bytes`.
fn fitted(mut report: RunReport, max_bytes: usize) -> Result<RunReport, ReportError> {
    let size = |report: &RunReport| match json(report) {
        Ok(text) => Ok(text.len()),
        Err(error) => Err(ReportError {
            target: "JSON".to_owned(),
            error,
        }),
    };
    let steps: [fn(&mut RunReport); 4] = [leave_hashes_out, leave_pins_out, cut_warnings, cut_failure];
    for step in steps {
        if size(&report)? <= max_bytes {
            break;
        }
        step(&mut report);
    }
    Ok(report)
}

/// Leaves them out silently: the lock of the task says that they are not known.
fn leave_hashes_out(report: &mut RunReport) {
    if let RunReport::Finished { resolved, .. } = report {
        resolved.python_hashes.clear();
    }
}

fn leave_pins_out(report: &mut RunReport) {
    if let RunReport::Finished { resolved, warnings, .. } = report {
        let (python, system) = (resolved.python.len(), resolved.system.len());
        resolved.python.clear();
        resolved.system.clear();
        warnings.push(format!(
            "{python} Python pins and {system} store paths are left out to fit the size limit"
        ));
    }
}

fn cut_warnings(report: &mut RunReport) {
    if let RunReport::Finished { warnings, .. } = report {
        warnings.truncate(4);
        warnings.iter_mut().for_each(|warning| cut(warning, 160));
    }
}

fn cut_failure(report: &mut RunReport) {
    if let RunReport::Finished {
        end: hybrid_cache_model::End::Failed { failure },
        ..
    } = report
    {
        cut(&mut failure.message, 800);
        failure.hint.iter_mut().for_each(|hint| cut(hint, 200));
    }
}

fn cut(text: &mut String, max_chars: usize) {
    if let Some((end, _)) = text.char_indices().nth(max_chars) {
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Recorder;
    use hybrid_cache_model::{Failure, FailureKind, Phase, Resolved};

    #[test]
    fn a_report_too_large_for_the_termination_message_stays_whole_json() {
        let recorder = Recorder::start();
        for _ in 0..6 {
            recorder.span(Phase::Lookup, hybrid_cache_model::Lane::Runner, || ());
        }
        let failure = Failure::new(FailureKind::Tool, "ü\"".repeat(5000)).hint("h".repeat(5000));
        let mut report = crate::run::failed(failure, &recorder);
        if let RunReport::Finished { resolved, warnings, .. } = &mut report {
            *resolved = Resolved {
                python: vec!["numpy==2.4.1".to_owned(); 500],
                ..Resolved::default()
            };
            warnings.extend(std::iter::repeat_n("w".repeat(900), 20));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("termination-log");
        Destination::file(&path).unwrap().write(report).unwrap();
        let text = std::fs::read(&path).unwrap();
        assert!(text.len() <= MAX_FILE_BYTES, "{} bytes", text.len());
        assert!(matches!(
            serde_json::from_slice(&text).unwrap(),
            RunReport::Finished { .. }
        ));
    }
}
