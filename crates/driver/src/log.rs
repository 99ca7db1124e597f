//! A task's output while it runs: appended by the driver, followed by any number of readers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hybrid_cache_model::Protection;
use hybrid_cache_model::protocol::Limits;
use tokio::sync::watch;

/// What a log holds beyond the limits of both streams: the runner's own words where a sandbox or pod could not be made.
const MARGIN_BYTES: usize = 64 << 10;
/// Most changes from one stream to the other that a log remembers: each costs memory of its own, so that a task which
/// writes single bytes by turns would take a multiple of its limit.
const MAX_RUNS: usize = 1 << 20;

/// Which of the user's streams a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where it came from.
    pub stream: Stream,
    /// The bytes; not necessarily UTF-8, not necessarily whole lines.
    pub bytes: Vec<u8>,
}

/// Both streams in the order in which they came. What one stream wrote in several goes without the other is one run,
/// so that a program which writes byte by byte costs no more than its bytes.
#[derive(Debug)]
struct Text {
    bytes: Vec<u8>,
    runs: Vec<Run>,
    /// Most bytes of both streams.
    limit_bytes: usize,
    /// Bytes that came beyond a bound and are not kept.
    dropped_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    stream: Stream,
    start: usize,
}

impl Text {
    /// Keeps a piece, as far as the bounds allow.
    fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let turns = self.runs.last().is_none_or(|run| run.stream != stream);
        let mut room = self.limit_bytes.saturating_sub(self.bytes.len());
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
                start: self.bytes.len(),
            });
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes of one run.
    fn run(&self, at: usize) -> &[u8] {
        let end = self.runs.get(at + 1).map_or(self.bytes.len(), |next| next.start);
        &self.bytes[self.runs[at].start..end]
    }

    fn collect(&self, stream: Stream) -> Vec<u8> {
        let runs = (0..self.runs.len()).filter(|at| self.runs[*at].stream == stream);
        runs.flat_map(|at| self.run(at)).copied().collect()
    }

    /// What follows `offset`, as far as one stream wrote it.
    fn after(&self, offset: usize) -> Option<Chunk> {
        let at = self.runs.partition_point(|run| run.start <= offset).checked_sub(1)?;
        let bytes = self.run(at).get(offset - self.runs[at].start..)?.to_vec();
        Some(Chunk {
            stream: self.runs[at].stream,
            bytes,
        })
        .filter(|chunk| !chunk.bytes.is_empty())
    }
}

type Shared = Arc<Mutex<Text>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Text> {
    // A run without its bytes is an empty one, so the text is good even where appending panicked.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many bytes there are, and whether more may come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    bytes: usize,
    closed: bool,
}

/// The writing end. The runner passes on no more than the task's output limit; a task that writes past its runner, which it can
/// where another program stands between (Argo's), is held to the same bound here.
#[derive(Debug)]
pub struct LogWriter {
    text: Shared,
    progress: watch::Sender<Progress>,
}

impl LogWriter {
    /// An empty log for a task with the default limits.
    pub fn new() -> LogWriter {
        let text = Text {
            bytes: Vec::new(),
            runs: Vec::new(),
            limit_bytes: bound(Limits::default().output_bytes),
            dropped_bytes: 0,
        };
        LogWriter {
            text: Arc::new(Mutex::new(text)),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// Holds the log to what a task may print with these limits; what it has already stays.
    pub fn hold_to(&self, limits: &Limits) {
        lock(&self.text).limit_bytes = bound(limits.output_bytes);
    }

    /// What to tell of output that was not kept, as it came beyond the bound.
    pub fn overflow(&self) -> Option<String> {
        let dropped = lock(&self.text).dropped_bytes;
        (dropped > 0)
            .then(|| format!("{dropped} bytes of output beyond the limit were dropped: they came past the runner"))
    }

    /// Appends one piece and wakes the readers.
    pub fn append(&self, stream: Stream, bytes: &[u8]) {
        let mut text = lock(&self.text);
        text.append(stream, bytes);
        let count = text.bytes.len();
        drop(text);
        self.progress.send_modify(|progress| progress.bytes = count);
    }

    /// Says that nothing more comes.
    pub fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// A reader from the beginning.
    pub fn reader(&self) -> LogReader {
        LogReader {
            text: Arc::clone(&self.text),
            progress: self.progress.subscribe(),
            offset: 0,
        }
    }

    /// Everything one stream carried so far.
    pub fn collect(&self, stream: Stream) -> Vec<u8> {
        lock(&self.text).collect(stream)
    }
}

impl Default for LogWriter {
    fn default() -> LogWriter {
        LogWriter::new()
    }
}

/// Both streams together, for a cluster that does not tell them apart brings all of it as one.
fn bound(output_bytes: u64) -> usize {
    let both = usize::try_from(output_bytes.saturating_mul(2)).unwrap_or(usize::MAX);
    both.saturating_add(MARGIN_BYTES)
}

/// A reader with a place of its own in the log.
#[derive(Clone, Debug)]
pub struct LogReader {
    text: Shared,
    progress: watch::Receiver<Progress>,
    offset: usize,
}

impl LogReader {
    /// The next piece, waiting for it if need be; `None` once the log is closed and read to its end.
    pub async fn next(&mut self) -> Option<Chunk> {
        loop {
            let progress = *self.progress.borrow_and_update();
            if self.offset < progress.bytes {
                let chunk = lock(&self.text).after(self.offset);
                self.offset += chunk.as_ref().map_or(0, |chunk| chunk.bytes.len());
                return chunk;
            }
            // An error means that the writer is gone: the log ends as if it had been closed.
            if progress.closed || self.progress.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Everything one stream carried so far, whatever was read already.
    pub fn collect(&self, stream: Stream) -> Vec<u8> {
        lock(&self.text).collect(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_follower_sees_what_came_before_and_after_it_and_then_the_end() {
        let log = LogWriter::new();
        log.append(Stream::Stdout, b"a");
        let mut reader = log.reader();
        log.append(Stream::Stderr, b"b");
        let follow = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(chunk) = reader.next().await {
                seen.push((chunk.stream, chunk.bytes));
            }
            seen
        });
        tokio::task::yield_now().await;
        log.append(Stream::Stdout, b"c");
        log.close();
        let expected = [
            (Stream::Stdout, b"a".to_vec()),
            (Stream::Stderr, b"b".to_vec()),
            (Stream::Stdout, b"c".to_vec()),
        ];
        assert_eq!(follow.await.unwrap(), expected);
        assert_eq!(log.collect(Stream::Stdout), b"ac");
    }

    #[tokio::test]
    async fn a_dropped_writer_ends_the_log() {
        let log = LogWriter::new();
        let mut reader = log.reader();
        drop(log);
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn neighbouring_pieces_of_one_stream_cost_one_run_and_are_read_from_the_middle() {
        let log = LogWriter::new();
        let mut reader = log.reader();
        log.append(Stream::Stdout, b"ab");
        assert_eq!(reader.next().await.unwrap().bytes, b"ab");
        for byte in b"cde" {
            log.append(Stream::Stdout, &[*byte]);
        }
        log.append(Stream::Stderr, b"!");
        log.close();
        assert_eq!(reader.next().await.unwrap().bytes, b"cde");
        assert_eq!(reader.next().await.unwrap().stream, Stream::Stderr);
        assert_eq!(reader.next().await, None);
        assert_eq!(lock(&log.text).runs.len(), 2);
        assert_eq!(log.collect(Stream::Stdout), b"abcde");
    }

    #[test]
    fn what_comes_past_the_runner_is_counted_and_not_kept() {
        let log = LogWriter::new();
        let limits = Limits {
            output_bytes: 1000,
            ..Limits::default()
        };
        log.hold_to(&limits);
        for _ in 0..1000 {
            log.append(Stream::Stderr, &[b'x'; 1000]);
        }
        let most = 2000 + MARGIN_BYTES;
        assert_eq!(log.collect(Stream::Stderr).len(), most);
        let told = log.overflow().unwrap();
        assert!(told.starts_with(&format!("{} bytes", 1_000_000 - most)), "{told}");
        assert_eq!(LogWriter::new().overflow(), None);
    }

    #[test]
    fn streams_that_take_turns_for_each_byte_cost_no_multiple_of_the_limit() {
        let log = LogWriter::new();
        for _ in 0..MAX_RUNS {
            log.append(Stream::Stdout, b"a");
            log.append(Stream::Stderr, b"b");
        }
        assert_eq!(lock(&log.text).runs.len(), MAX_RUNS);
        assert!(log.overflow().is_some());
        // The stream that wrote last goes on in its own run.
        log.append(Stream::Stderr, b"end");
        assert!(log.collect(Stream::Stderr).ends_with(b"bend"));
    }
}
