//! What a log holds: bytes, who wrote which of them, and what becomes of what was read.

use hybrid_cache_model::Protection;

use super::{Chunk, Stream};

/// Most bytes of one piece that is read.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes that a log which was taken may hold unread before whoever appends is to wait.
pub const WINDOW_BYTES: usize = 128 << 10;
/// Most changes from one stream to the other that a log remembers: each costs memory of its own, so that a task which
/// writes single bytes by turns would take a multiple of its limit.
pub const MAX_RUNS: usize = 1 << 20;

/// Both streams in the order in which they came. What one stream wrote in several goes without the other is one run,
/// so that a program which writes byte by byte costs no more than its bytes. Places count from the log's beginning.
#[derive(Debug)]
pub struct Text {
    /// What is held: all of it, or what was not read yet.
    pub bytes: Vec<u8>,
    /// The place of the first byte held.
    pub base: usize,
    /// Where which stream begins to write.
    pub runs: Vec<Run>,
    /// Most bytes of both streams.
    pub limit_bytes: usize,
    /// Bytes that came beyond a bound and are not kept.
    pub dropped_bytes: u64,
    /// Who keeps them elsewhere.
    pub taken: Taken,
    /// Bytes of standard output and of standard error that were let go of.
    pub released: [u64; 2],
}

/// Who keeps the output elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nobody: the log keeps all of it.
    Never,
    /// So many readers.
    By(usize),
    /// Whoever did has gone away: nothing is kept any more.
    Abandoned,
}

/// Where one stream began to write.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    stream: Stream,
    start: usize,
}

impl Text {
    /// The place behind the last byte.
    pub fn end(&self) -> usize {
        self.base + self.bytes.len()
    }

    /// Keeps a piece, as far as the bounds allow.
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

    /// The place and the bytes of one run, as far as they are held.
    fn run(&self, at: usize) -> (usize, &[u8]) {
        let end = self.runs.get(at + 1).map_or(self.end(), |next| next.start);
        let start = self.runs[at].start.max(self.base);
        (start, &self.bytes[start - self.base..end - self.base])
    }

    /// Everything held of one stream.
    pub fn collect(&self, stream: Stream) -> Vec<u8> {
        let runs = (0..self.runs.len()).filter(|at| self.runs[*at].stream == stream);
        runs.flat_map(|at| self.run(at).1).copied().collect()
    }

    /// What follows `offset`, as far as one stream wrote it and one piece goes.
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

    /// Lets go of everything in front of a place.
    pub fn release(&mut self, place: usize) {
        let mut gone = 0;
        while let Some(run) = self.runs.get(gone) {
            let end = self.runs.get(gone + 1).map_or(self.end(), |next| next.start);
            let bytes = end.min(place).saturating_sub(run.start.max(self.base));
            self.released[usize::from(run.stream == Stream::Stderr)] += bytes as u64;
            // The last run stays: its stream may go on in it.
            if end > place || gone + 1 == self.runs.len() {
                break;
            }
            gone += 1;
        }
        self.runs.drain(..gone);
        let held = place.saturating_sub(self.base).min(self.bytes.len());
        self.bytes.drain(..held);
        self.base += held;
    }

    /// True while it holds as much unread as a log that was taken may.
    pub fn is_behind(&self) -> bool {
        matches!(self.taken, Taken::By(_)) && self.bytes.len() >= WINDOW_BYTES
    }
}
