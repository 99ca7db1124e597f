//! A recorded trace: files one behind the other, read again for each pass.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use hybrid_cache_driver::trace::files_in;
use hybrid_cache_sizing::trace::{Faults, Reader, TraceError};
use hybrid_cache_sizing::{Catalog, Event, Source};
use hybrid_cache_tools::{Error, ErrorContext, Result};

use crate::trace::file;

/// What was recorded in a folder, and what is known of it after its first reading.
pub struct Recorded {
    /// Oldest first. Open, so that rotation takes none away while they are read.
    files: Vec<File>,
    catalog: Catalog,
    faults: Faults,
}

impl Recorded {
    /// Reads what was recorded once; `None` if there are no requests.
    ///
    /// # Errors
    /// It cannot be read, or is of another version.
    pub fn open(folder: &Path) -> Result<Option<Recorded>> {
        let told = || format!("reading the requests recorded in {}", folder.display());
        let mut files = Vec::new();
        for path in files_in(folder).with_context(told)? {
            match File::open(&path) {
                // Rotation has taken it since.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                opened => files.push(opened.with_context(told)?),
            }
        }
        match read(&files, &mut |_| {}) {
            Ok((catalog, faults)) => Ok(Some(Recorded { files, catalog, faults })),
            Err(TraceError::Empty | TraceError::NoRequests) => Ok(None),
            Err(error) => Err(Error::input(format!("{}: {error}", folder.display()))),
        }
    }

    /// What is wrong with single lines.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let sizes = self
            .files
            .iter()
            .map(|file| file.metadata().map_or(0, |found| found.len()));
        sizes.sum()
    }
}

impl Source for Recorded {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn replay(&self, each: &mut dyn FnMut(&Event)) -> Result<(), TraceError> {
        read(&self.files, each).map(drop)
    }
}

fn read(files: &[File], each: &mut dyn FnMut(&Event)) -> Result<(Catalog, Faults), TraceError> {
    let mut reader = Reader::new();
    for file in files {
        file::lines(file, &mut |line, is_whole| reader.line(line, is_whole, each))?;
    }
    reader.finish()
}
