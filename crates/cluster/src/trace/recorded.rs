//! A recorded trace: several files read as one, again in each pass.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use hybrid_cache_driver::trace::files_in;
use hybrid_cache_sizing::trace::{Faults, Reader, TraceError};
use hybrid_cache_sizing::{Catalog, Event, Source};
use hybrid_cache_tools::{Error, ErrorContext, Result};

use crate::trace::file;

/// The recorded requests of a folder, with the facts from the first pass.
pub struct Recorded {
    /// The files, oldest first. They stay open, so that rotation cannot remove one while it is read.
    files: Vec<File>,
    catalog: Catalog,
    faults: Faults,
}

impl Recorded {
    /// Reads the recorded requests once; `None` if there are none.
    ///
    /// # Errors
    /// The files cannot be read, or are of another version.
    pub fn open(folder: &Path) -> Result<Option<Recorded>> {
        let context = || format!("reading the requests recorded in {}", folder.display());
        let mut files = Vec::new();
        for path in files_in(folder).with_context(context)? {
            match File::open(&path) {
                // Rotation has deleted the file since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                opened => files.push(opened.with_context(context)?),
            }
        }
        match read(&files, &mut |_| {}) {
            Ok((catalog, faults)) => Ok(Some(Recorded { files, catalog, faults })),
            Err(TraceError::Empty | TraceError::NoRequests) => Ok(None),
            Err(error) => Err(Error::input(format!("{}: {error}", folder.display()))),
        }
    }

    /// Faults of single lines.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Size of all files in bytes.
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
