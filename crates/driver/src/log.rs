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

/// One piece of output, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where it came from.
    pub stream: Stream,
    /// The bytes; not necessarily UTF-8, not necessarily whole lines.
    pub bytes: Arc<[u8]>,
}

#[derive(Debug, Default)]
struct Shared {
    chunks: Mutex<Vec<Chunk>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Chunk>> {
        // A vector that a push panicked on is still whole.
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many chunks there are, and whether more may come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    chunks: usize,
    closed: bool,
}

/// The writing end. Its size is bounded by the runner, which passes on no more than the task's output limit.
#[derive(Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
}

impl LogWriter {
    /// An empty log.
    pub fn new() -> LogWriter {
        LogWriter {
            shared: Arc::default(),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// Appends one piece and wakes the readers.
    pub fn append(&self, stream: Stream, bytes: &[u8]) {
        let mut chunks = self.shared.lock();
        chunks.push(Chunk {
            stream,
            bytes: bytes.into(),
        });
        let count = chunks.len();
        drop(chunks);
        self.progress.send_modify(|progress| progress.chunks = count);
    }

    /// Says that nothing more comes.
    pub fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// A reader from the beginning.
    pub fn reader(&self) -> LogReader {
        LogReader {
            shared: Arc::clone(&self.shared),
            progress: self.progress.subscribe(),
            next: 0,
        }
    }

    /// Everything one stream carried so far.
    pub fn collect(&self, stream: Stream) -> Vec<u8> {
        collect(&self.shared, stream)
    }
}

impl Default for LogWriter {
    fn default() -> LogWriter {
        LogWriter::new()
    }
}

fn collect(shared: &Shared, stream: Stream) -> Vec<u8> {
    shared
        .lock()
        .iter()
        .filter(|chunk| chunk.stream == stream)
        .flat_map(|chunk| chunk.bytes.iter().copied())
        .collect()
}

/// A reader with a place of its own in the log.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    next: usize,
}

impl LogReader {
    /// The next piece, waiting for it if need be; `None` once the log is closed and read to its end.
    pub async fn next(&mut self) -> Option<Chunk> {
        loop {
            let progress = *self.progress.borrow_and_update();
            if self.next < progress.chunks {
                let chunk = self.shared.lock().get(self.next).cloned();
                self.next += 1;
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
        collect(&self.shared, stream)
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
                seen.push((chunk.stream, chunk.bytes.to_vec()));
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
}
