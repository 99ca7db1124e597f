//! What tasks print: kept in files as it comes, read and followed by any number of clients.

pub(crate) mod files;
mod frame;
pub(crate) mod live;
mod reader;

use hybrid_cache_api::TaskId;
use std::io;
use std::sync::Arc;

use hybrid_cache_driver::log::{Chunk, Stream};
use tokio::sync::watch;

pub use reader::{Follow, OutputChunk, OutputReader};

use files::{Extent, OutputFile, OutputFiles};
use live::{Live, Progress};

/// All output, kept and coming.
#[derive(Clone, Debug)]
pub(crate) struct Outputs {
    pub files: OutputFiles,
    pub live: Live,
}

impl Outputs {
    /// Reads a task's output from `from` bytes of both streams on.
    ///
    /// A follower must ask the store for the task's state after this and call [`Outputs::settle`]: the end of a task that
    /// ended before this is told to nobody.
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

    /// Opens a task's file to write what comes, behind what is there.
    pub fn writer(&self, id: &TaskId, limit_bytes: u64) -> io::Result<OutputWriter> {
        let file = self.files.append(id)?;
        let told = self.live.enter(id);
        let held = file.extent();
        told.send_modify(|progress| progress.extent = held);
        Ok(OutputWriter {
            file,
            told,
            skip: Extent::default(),
            limit_bytes,
        })
    }
}

/// Writes what one task prints.
pub(crate) struct OutputWriter {
    file: OutputFile,
    told: Arc<watch::Sender<Progress>>,
    /// What the driver tells again from the beginning, and is kept already.
    skip: Extent,
    /// Of each stream.
    limit_bytes: u64,
}

impl OutputWriter {
    /// Keeps one piece and wakes whoever follows. What is kept already and what is beyond the limit is left out.
    pub fn append(&mut self, chunk: &Chunk) -> io::Result<()> {
        let known = self.skip.of(chunk.stream);
        let skip = (*known).min(chunk.bytes.len() as u64);
        *known -= skip;
        let fresh = &chunk.bytes[usize::try_from(skip).unwrap_or(usize::MAX)..];
        let room = self.limit_bytes.saturating_sub(*self.file.extent().of(chunk.stream));
        let fresh = &fresh[..fresh.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        if fresh.is_empty() {
            return Ok(());
        }
        self.file.append(chunk.stream, fresh)?;
        let extent = self.file.extent();
        self.told.send_modify(|progress| progress.extent = extent);
        Ok(())
    }

    /// A log begins, behind so many bytes of standard output and of standard error: what is kept is left out.
    pub fn begin(&mut self, released: [u64; 2]) -> io::Result<()> {
        let held = self.file.extent();
        self.skip = held;
        for (stream, released) in [Stream::Stdout, Stream::Stderr].into_iter().zip(released) {
            let kept = *self.skip.of(stream);
            if released > kept && kept < self.limit_bytes {
                let message = format!("{} bytes had gone before they were read", released - kept);
                return Err(io::Error::other(message));
            }
            *self.skip.of(stream) = kept.saturating_sub(released);
        }
        Ok(())
    }

    /// True once nothing more comes that is kept already.
    pub fn has_caught_up(&self) -> bool {
        self.skip.stdout_bytes == 0 && self.skip.stderr_bytes == 0
    }

    /// Waits until all of it is on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Reads this many times what is shown of one stream, and no more: the other one may begin far behind.
const READ_SHARE: usize = 4;

/// The beginning of both streams, as far as `limit_bytes` of each.
pub(crate) async fn beginning(mut reader: OutputReader, limit_bytes: usize) -> io::Result<[Vec<u8>; 2]> {
    let mut streams = [Vec::new(), Vec::new()];
    let mut read = 0;
    while read < limit_bytes * READ_SHARE
        && streams.iter().any(|stream: &Vec<u8>| stream.len() < limit_bytes)
        && let Some(chunk) = reader.next().await?
    {
        read += chunk.bytes.len();
        let stream = &mut streams[usize::from(chunk.stream == Stream::Stderr)];
        let room = limit_bytes.saturating_sub(stream.len());
        stream.extend_from_slice(&chunk.bytes[..chunk.bytes.len().min(room)]);
    }
    Ok(streams)
}
