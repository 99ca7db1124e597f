//! A task's output while it runs: appended by the driver, followed by any number of readers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

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
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    stream: Stream,
    start: usize,
}

impl Text {
    fn append(&mut self, stream: Stream, bytes: &[u8]) {
        if self.runs.last().is_none_or(|run| run.stream != stream) {
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

/// The writing end. Its size is bounded by the runner, which passes on no more than the task's output limit.
#[derive(Debug)]
pub struct LogWriter {
    text: Shared,
    progress: watch::Sender<Progress>,
}

impl LogWriter {
    /// An empty log.
    pub fn new() -> LogWriter {
        LogWriter {
            text: Arc::default(),
            progress: watch::Sender::new(Progress::default()),
        }
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
}
