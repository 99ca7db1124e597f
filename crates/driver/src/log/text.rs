//! The content of a log: bytes, which stream wrote which of them, and what was read and released.

use hybrid_cache_model::Protection;

use crate::log::chunk::{Chunk, Stream};

/// Most bytes that one read returns.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes that a taken log may hold unread before writers have to wait.
pub const WINDOW_BYTES: usize = 128 << 10;
/// Most changes from one stream to the other that a log stores. Each costs memory, so a task that writes single bytes to
/// alternating streams would otherwise use a multiple of its limit.
pub const MAX_RUNS: usize = 1 << 20;

/// Both streams in the order of their output. Consecutive writes of one stream form one run, so that a program that writes
/// byte by byte costs no more than its bytes. Offsets count from the log's beginning.
#[derive(Debug)]
pub struct Text {
    /// The bytes that are held: everything, or what was not read yet.
    pub bytes: Vec<u8>,
    /// The offset of the first byte that is held.
    pub base: usize,
    /// Where each run begins.
    pub runs: Vec<Run>,
    /// Most bytes of both streams.
    pub limit_bytes: usize,
    /// Bytes that were dropped because they exceeded a bound.
    pub dropped_bytes: u64,
    /// Whether readers have taken the log.
    pub taken: Taken,
    /// Bytes of standard output and of standard error that were released.
    pub released: [u64; 2],
}

/// Whether readers keep the output elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// No: the log keeps everything.
    Never,
    /// Yes, this many readers.
    By(usize),
    /// The last such reader is gone, so nothing is kept.
    Abandoned,
}

/// Where one stream began to write.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    stream: Stream,
    start: usize,
}

impl Text {
    /// The offset after the last byte.
    pub fn end(&self) -> usize {
        self.base + self.bytes.len()
    }

    /// Appends a piece, as far as the bounds allow.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let turns = self.runs.last().is_none_or(|run| run.stream != stream);
        let mut room = self.limit_bytes.saturating_sub(self.end());
        if turns && self.runs.len() >= MAX_RUNS {
            room = 0;
        }
        if !Protection::OutputBound.is_on() {
            room = usize::MAX;
        }
        let (bytes, beyond) = bytes.split_at(bytes.len().min(room));
        self.dropped_bytes += beyond.len() as u64;
        if bytes.is_empty() {
            return;
        }
        if turns {
            self.runs.push(Run {
                stream,
                start: self.end(),
            });
        }
        self.bytes.extend_from_slice(bytes);
        if self.taken == Taken::Abandoned {
            self.release(self.end());
        }
    }

    /// The offset and the bytes of one run, as far as they are held.
    fn run(&self, at: usize) -> (usize, &[u8]) {
        let end = self.runs.get(at + 1).map_or(self.end(), |next| next.start);
        let start = self.runs[at].start.max(self.base);
        (start, &self.bytes[start - self.base..end - self.base])
    }

    /// Everything that is held of one stream.
    pub fn collect(&self, stream: Stream) -> Vec<u8> {
        let runs = (0..self.runs.len()).filter(|at| self.runs[*at].stream == stream);
        runs.flat_map(|at| self.run(at).1).copied().collect()
    }

    /// What follows `offset`, up to the end of its run and [`CHUNK_BYTES`]; `None` at the end.
    pub fn after(&self, offset: usize) -> Option<Chunk> {
        let at = self.runs.partition_point(|run| run.start <= offset).checked_sub(1)?;
        let (start, bytes) = self.run(at);
        let bytes = bytes.get(offset.saturating_sub(start)..)?;
        Some(Chunk {
            stream: self.runs[at].stream,
            bytes: bytes[..bytes.len().min(CHUNK_BYTES)].to_vec(),
        })
        .filter(|chunk| !chunk.bytes.is_empty())
    }

    /// Releases everything before an offset.
    pub fn release(&mut self, offset: usize) {
        let mut gone = 0;
        while let Some(run) = self.runs.get(gone) {
            let end = self.runs.get(gone + 1).map_or(self.end(), |next| next.start);
            let bytes = end.min(offset).saturating_sub(run.start.max(self.base));
            self.released[usize::from(run.stream == Stream::Stderr)] += bytes as u64;
            // The last run stays, because its stream may continue it.
            if end > offset || gone + 1 == self.runs.len() {
                break;
            }
            gone += 1;
        }
        self.runs.drain(..gone);
        let held = offset.saturating_sub(self.base).min(self.bytes.len());
        self.bytes.drain(..held);
        self.base += held;
    }

    /// True while a taken log holds as much unread output as it may.
    pub fn is_behind(&self) -> bool {
        matches!(self.taken, Taken::By(_)) && self.bytes.len() >= WINDOW_BYTES
    }
}
