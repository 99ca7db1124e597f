//! Tasks' output: stored in files, read and followed by any number of clients.

mod ends;
pub(crate) mod files;
mod frame;
pub(crate) mod live;
mod reader;

use hybrid_cache_api::TaskId;
use std::io;
use std::sync::Arc;

use hybrid_cache_driver::log::{Chunk, Stream};
use tokio::sync::watch;

pub(crate) use ends::{ShownStream, beginning, ends};
pub use reader::{Follow, OutputChunk, OutputReader};

use files::{Extent, OutputFile, OutputFiles};
use live::{Live, OutputProgress};

/// All output, stored and live.
#[derive(Clone, Debug)]
pub(crate) struct Outputs {
    pub files: OutputFiles,
    pub live: Live,
}

impl Outputs {
    /// Reads a task's output, skipping `from` bytes of both streams.
    ///
    /// A follower must ask the store for the task's state after this and call [`Outputs::settle`]: nobody announces the
    /// end of a task that ended before.
    pub fn reader(&self, id: &TaskId, from: u64, follow: Follow) -> OutputReader {
        let path = self.files.path(id);
        match follow {
            Follow::Stored => OutputReader::kept(path, from),
            Follow::UntilEnd => OutputReader::followed(path, from, id, &self.live),
        }
    }

    /// Tells a reader that its task has ended.
    pub fn settle(reader: &mut OutputReader) {
        reader.has_ended();
    }

    /// Opens a task's file to append what comes.
    pub fn writer(&self, id: &TaskId, limit_bytes: u64) -> io::Result<OutputWriter> {
        let file = self.files.append(id)?;
        let progress_sender = self.live.enter(id);
        let held = file.extent();
        progress_sender.send_modify(|progress| progress.extent = held);
        Ok(OutputWriter {
            file,
            progress_sender,
            skip: Extent::default(),
            limit_bytes,
        })
    }
}

/// Writes the output of one task.
pub(crate) struct OutputWriter {
    file: OutputFile,
    progress_sender: Arc<watch::Sender<OutputProgress>>,
    /// What the driver sends again from the beginning, and is already stored.
    skip: Extent,
    /// Limit of each stream.
    limit_bytes: u64,
}

impl OutputWriter {
    /// Stores one chunk and wakes followers. What is already stored, and what is beyond the limit, is left out.
    pub fn append(&mut self, chunk: &Chunk) -> io::Result<()> {
        let known = self.skip.bytes_mut(chunk.stream);
        let skip = (*known).min(chunk.bytes.len() as u64);
        *known -= skip;
        let fresh = &chunk.bytes[usize::try_from(skip).unwrap_or(usize::MAX)..];
        let room = self
            .limit_bytes
            .saturating_sub(*self.file.extent().bytes_mut(chunk.stream));
        let fresh = &fresh[..fresh.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        if fresh.is_empty() {
            return Ok(());
        }
        self.file.append(chunk.stream, fresh)?;
        let extent = self.file.extent();
        self.progress_sender.send_modify(|progress| progress.extent = extent);
        Ok(())
    }

    /// A log begins after this many released bytes of standard output and standard error: skip what is already stored.
    pub fn begin(&mut self, released: [u64; 2]) -> io::Result<()> {
        let held = self.file.extent();
        self.skip = held;
        for (stream, released) in [Stream::Stdout, Stream::Stderr].into_iter().zip(released) {
            let kept = *self.skip.bytes_mut(stream);
            if released > kept && kept < self.limit_bytes {
                let message = format!("{} bytes had gone before they were read", released - kept);
                return Err(io::Error::other(message));
            }
            *self.skip.bytes_mut(stream) = kept.saturating_sub(released);
        }
        Ok(())
    }

    /// True once all that is sent again has been skipped.
    pub fn has_caught_up(&self) -> bool {
        self.skip.stdout_bytes == 0 && self.skip.stderr_bytes == 0
    }

    /// Waits until all of it is on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
