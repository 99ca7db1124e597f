//! The files of tasks' output: one for each task, appended while it runs, beside the database.
//!
//! Output is kept in files and not in rows: it comes in many small pieces and may be thirty megabytes. In the database,
//! each piece would occupy the one writer and be written twice, because of its log. An append to a file needs no
//! transaction, survives the process that made it, can be read by any number of followers at different positions, and
//! one `unlink` deletes it. The file is synced once, before the task's end is stored. If a power failure takes a
//! running task's output, its driver still has it, or the task has died, too.

use hybrid_cache_api::TaskId;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hybrid_cache_driver::log::Stream;

use super::frame::{self, Head};
use crate::private;

const FOLDER: &str = "output";
const ENDING: &str = "log";
/// Bytes read from a file at once while looking for its end.
const SCAN_BYTES: usize = 256 << 10;
/// The block size of nearly every file system.
const BLOCK_BYTES: u64 = 4096;

/// The folder of all output.
#[derive(Clone, Debug)]
pub struct OutputFiles {
    folder: PathBuf,
    taken: Taken,
}

/// Bytes that all output takes on disk. It is counted, so that no one has to look at every file.
#[derive(Clone, Debug, Default)]
struct Taken(Arc<AtomicU64>);

impl Taken {
    /// Notes that a file of `before` bytes now has `after`.
    fn change(&self, before: u64, after: u64) {
        let blocks = |bytes: u64| bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        let (before, after) = (blocks(before), blocks(after));
        if after >= before {
            self.0.fetch_add(after - before, Ordering::Relaxed);
        } else {
            let less = |taken: u64| Some(taken.saturating_sub(before - after));
            // It always sets a new value.
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

/// How much a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of complete frames with their numbers: where the next frame begins.
    pub file_bytes: u64,
    /// Bytes of standard output.
    pub stdout_bytes: u64,
    /// Bytes of standard error.
    pub stderr_bytes: u64,
}

impl Extent {
    fn add(&mut self, head: Head) {
        self.file_bytes += (head.head_bytes + head.bytes) as u64;
        *self.bytes_mut(head.stream) += head.bytes as u64;
    }

    /// Bytes of one stream.
    pub fn bytes_mut(&mut self, stream: Stream) -> &mut u64 {
        match stream {
            Stream::Stdout => &mut self.stdout_bytes,
            Stream::Stderr => &mut self.stderr_bytes,
        }
    }
}

impl OutputFiles {
    /// Opens the folder, and creates it if it is missing.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn open(service: &Path) -> io::Result<OutputFiles> {
        let folder = service.join(FOLDER);
        if folder.is_dir() {
            private::tighten_files_of(&folder)?;
        }
        private::folder(&folder)?;
        let taken = Taken::default();
        for entry in fs::read_dir(&folder)? {
            taken.change(0, entry?.metadata()?.len());
        }
        Ok(OutputFiles { folder, taken })
    }

    /// Bytes that all output takes on disk.
    pub fn bytes(&self) -> u64 {
        self.taken.0.load(Ordering::Relaxed)
    }

    /// The path of one task's file, which may not exist.
    pub fn path(&self, id: &TaskId) -> PathBuf {
        self.folder.join(id.as_str()).with_extension(ENDING)
    }

    /// Deletes a task's output.
    ///
    /// # Errors
    /// The file exists and cannot be deleted.
    pub fn remove(&self, id: &TaskId) -> io::Result<()> {
        let path = self.path(id);
        let removed = fs::metadata(&path).and_then(|file| fs::remove_file(&path).map(|()| file.len()));
        match removed {
            Ok(bytes) => {
                self.taken.change(bytes, 0);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The tasks that have a file.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn ids(&self) -> io::Result<Vec<TaskId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            ids.extend(stem.and_then(TaskId::parse).filter(|id| self.path(id) == path));
        }
        Ok(ids)
    }

    /// Opens a task's file for appending. An incomplete frame of a killed process is cut off.
    ///
    /// # Errors
    /// The file cannot be opened, read or cut.
    pub fn append(&self, id: &TaskId) -> io::Result<OutputFile> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = private::file(&mut options, &self.path(id))?;
        let extent = measure(&mut file)?;
        self.taken.change(file.metadata()?.len(), extent.file_bytes);
        file.set_len(extent.file_bytes)?;
        file.seek(SeekFrom::Start(extent.file_bytes))?;
        let taken = self.taken.clone();
        Ok(OutputFile { file, extent, taken })
    }
}

/// Walks over all complete frames.
fn measure(file: &mut File) -> io::Result<Extent> {
    let size = file.metadata()?.len();
    let mut reader = io::BufReader::with_capacity(SCAN_BYTES, file);
    let mut extent = Extent::default();
    let mut bytes = [0; frame::MAX_HEAD_BYTES];
    while extent.file_bytes < size {
        let mut known = 0;
        let found = loop {
            if known == bytes.len() || reader.read(&mut bytes[known..=known])? == 0 {
                break None;
            }
            known += 1;
            if let Some(head) = frame::head(&bytes[..known]) {
                break Some(head);
            }
        };
        let Some(head) = found else { break };
        if extent.file_bytes + (head.head_bytes + head.bytes) as u64 > size {
            break;
        }
        reader.seek_relative(i64::try_from(head.bytes).unwrap_or(i64::MAX))?;
        extent.add(head);
    }
    Ok(extent)
}

/// A file that output is appended to.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    extent: Extent,
    taken: Taken,
}

impl OutputFile {
    /// How much it holds.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Appends bytes of one stream, all of them or none.
    ///
    /// # Errors
    /// The bytes cannot be written; the file is as before.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut framed = Vec::with_capacity(bytes.len() + frame::MAX_HEAD_BYTES);
        frame::write(stream, bytes, &mut framed);
        if let Err(error) = self.file.write_all(&framed) {
            self.file.set_len(self.extent.file_bytes)?;
            self.file.seek(SeekFrom::Start(self.extent.file_bytes))?;
            return Err(error);
        }
        let before = self.extent.file_bytes;
        self.extent.file_bytes += framed.len() as u64;
        self.taken.change(before, self.extent.file_bytes);
        *self.extent.bytes_mut(stream) += bytes.len() as u64;
        Ok(())
    }

    /// Waits until all of it is on disk.
    ///
    /// # Errors
    /// The disk reports an error.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_frame_is_cut_off_and_the_rest_goes_on() {
        let root = tempfile::tempdir().unwrap();
        let files = OutputFiles::open(root.path()).unwrap();
        let id = TaskId::parse("task-a").unwrap();
        let mut file = files.append(&id).unwrap();
        file.append(Stream::Stdout, b"one").unwrap();
        file.append(Stream::Stderr, &[b'x'; 300]).unwrap();
        let whole = file.extent();
        drop(file);
        for cut in 1..302 {
            let mut bytes = fs::read(files.path(&id)).unwrap();
            bytes.truncate(usize::try_from(whole.file_bytes).unwrap());
            let torn = [bytes.clone(), bytes[4..][..cut].to_vec()].concat();
            fs::write(files.path(&id), torn).unwrap();
            let file = files.append(&id).unwrap();
            assert_eq!(file.extent(), whole, "{cut}");
        }
        assert_eq!(files.ids().unwrap(), std::slice::from_ref(&id));
        assert_eq!(files.bytes(), BLOCK_BYTES);
        assert_eq!(OutputFiles::open(root.path()).unwrap().bytes(), BLOCK_BYTES);
        files.remove(&id).unwrap();
        files.remove(&id).unwrap();
        assert_eq!(files.bytes(), 0);
        assert_eq!(files.append(&id).unwrap().extent(), Extent::default());
    }
}
