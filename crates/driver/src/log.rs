//! A task's output while it runs: the driver appends, and any number of readers follow.
//!
//! A log keeps everything, so that each reader starts at the beginning, until a reader takes it ([`LogWriter::take`]) to keep
//! the output elsewhere. From then on the log holds only a window of unread output, and writers wait for room.

mod chunk;
mod text;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hybrid_cache_model::protocol::Limits;
use tokio::sync::watch;

pub use chunk::{Chunk, Stream};

use text::{Taken, Text};

/// Bytes that a log may hold beyond the limits of both streams, for what the runner writes if it cannot start the program.
const MARGIN_BYTES: usize = 64 << 10;

#[derive(Debug)]
struct Log {
    text: Mutex<Text>,
    /// Notified whenever something is released.
    released: watch::Sender<()>,
}

impl Log {
    fn text(&self) -> MutexGuard<'_, Text> {
        // A run without bytes is only empty, so the text is valid even if appending panicked.
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes there are, and whether more may follow.
#[derive(Clone, Copy, Debug, Default)]
struct LogState {
    bytes: usize,
    closed: bool,
}

/// The writing end. The runner passes on no more than the task's output limit. A task can write past its runner if another
/// program (Argo's) runs between them, so the log has the same bound.
#[derive(Debug)]
pub struct LogWriter {
    log: Arc<Log>,
    progress: watch::Sender<LogState>,
}

impl LogWriter {
    /// An empty log for a task with the default limits.
    pub fn new() -> LogWriter {
        let text = Text {
            bytes: Vec::new(),
            base: 0,
            runs: Vec::new(),
            limit_bytes: bound(Limits::default().output_bytes),
            dropped_bytes: 0,
            taken: Taken::Never,
            released: [0; 2],
        };
        LogWriter {
            log: Arc::new(Log {
                text: Mutex::new(text),
                released: watch::Sender::new(()),
            }),
            progress: watch::Sender::new(LogState::default()),
        }
    }

    /// Bounds the log to what a task may print with these limits. What it already holds stays.
    pub fn hold_to(&self, limits: &Limits) {
        self.log.text().limit_bytes = bound(limits.output_bytes);
    }

    /// A warning if output was dropped because it exceeded the bound.
    pub fn overflow(&self) -> Option<String> {
        let dropped = self.log.text().dropped_bytes;
        (dropped > 0)
            .then(|| format!("{dropped} bytes of output beyond the limit were dropped: they bypassed the runner"))
    }

    /// Appends one piece and wakes the readers.
    pub fn append(&self, stream: Stream, bytes: &[u8]) {
        let mut text = self.log.text();
        text.append(stream, bytes);
        let count = text.end();
        drop(text);
        self.progress.send_modify(|progress| progress.bytes = count);
    }

    /// Waits until the reader that has taken the log has read enough of it. There is no deadline: a reader that gives up is
    /// dropped, which makes room.
    pub async fn room(&self) {
        let mut released = self.log.released.subscribe();
        // An error is not possible, because this log holds the sender.
        let _ = released.wait_for(|()| !self.is_behind()).await;
    }

    /// True while writers should wait.
    pub fn is_behind(&self) -> bool {
        self.log.text().is_behind()
    }

    /// Ends the log.
    pub fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// A reader from the beginning.
    pub fn reader(&self) -> LogReader {
        LogReader {
            log: Arc::clone(&self.log),
            progress: self.progress.subscribe(),
            offset: self.log.text().base,
            takes: false,
        }
    }

    /// A reader that keeps the output elsewhere: the log releases what it has read. Once it is dropped, the log keeps nothing
    /// until it is taken again.
    pub fn take(&self) -> LogReader {
        let mut text = self.log.text();
        text.taken = match text.taken {
            Taken::By(readers) => Taken::By(readers + 1),
            Taken::Never | Taken::Abandoned => Taken::By(1),
        };
        drop(text);
        let mut reader = self.reader();
        reader.takes = true;
        reader
    }

    /// Everything of one stream that is held.
    pub fn collect(&self, stream: Stream) -> Vec<u8> {
        self.log.text().collect(stream)
    }
}

impl Default for LogWriter {
    fn default() -> LogWriter {
        LogWriter::new()
    }
}

/// The bound of both streams together, because a cluster that does not separate them delivers all output as one stream.
fn bound(output_bytes: u64) -> usize {
    let both = usize::try_from(output_bytes.saturating_mul(2)).unwrap_or(usize::MAX);
    both.saturating_add(MARGIN_BYTES)
}

/// A reader with its own position in the log.
#[derive(Debug)]
pub struct LogReader {
    log: Arc<Log>,
    progress: watch::Receiver<LogState>,
    offset: usize,
    takes: bool,
}

impl LogReader {
    /// Waits for the next piece, of at most 64 KiB; `None` once the log is closed and read to its end.
    pub async fn next(&mut self) -> Option<Chunk> {
        loop {
            let progress = *self.progress.borrow_and_update();
            if self.offset < progress.bytes {
                return self.read();
            }
            // An error means that the writer is gone, which ends the log.
            if progress.closed || self.progress.changed().await.is_err() {
                return None;
            }
        }
    }

    fn read(&mut self) -> Option<Chunk> {
        let mut text = self.log.text();
        // Another reader may have released what this one has not read.
        self.offset = self.offset.max(text.base);
        let chunk = text.after(self.offset);
        self.offset += chunk.as_ref().map_or(0, |chunk| chunk.bytes.len());
        if self.takes {
            text.release(self.offset);
            drop(text);
            self.log.released.send_replace(());
        }
        chunk
    }

    /// Bytes of standard output and of standard error that the log has released. A new reader starts after them.
    pub fn released(&self) -> [u64; 2] {
        self.log.text().released
    }

    /// Everything of one stream that is held, whether it was read or not.
    pub fn collect(&self, stream: Stream) -> Vec<u8> {
        self.log.text().collect(stream)
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        if !self.takes {
            return;
        }
        let mut text = self.log.text();
        text.taken = match text.taken {
            Taken::By(readers) if readers > 1 => Taken::By(readers - 1),
            _ => Taken::Abandoned,
        };
        if text.taken == Taken::Abandoned {
            let end = text.end();
            text.release(end);
        }
        drop(text);
        self.log.released.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::text::{MAX_RUNS, WINDOW_BYTES};
    use super::*;

    #[tokio::test]
    async fn a_reader_gets_earlier_and_later_output_and_then_the_end() {
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
    async fn consecutive_pieces_of_one_stream_form_one_run_and_can_be_read_from_the_middle() {
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
        assert_eq!(log.log.text().runs.len(), 2);
        assert_eq!(log.collect(Stream::Stdout), b"abcde");
    }

    #[test]
    fn output_that_bypasses_the_runner_is_counted_and_dropped() {
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
        let reported = log.overflow().unwrap();
        assert!(
            reported.starts_with(&format!("{} bytes", 1_000_000 - most)),
            "{reported}"
        );
        assert_eq!(LogWriter::new().overflow(), None);
    }

    #[test]
    fn streams_that_alternate_for_each_byte_use_no_multiple_of_the_limit() {
        let log = LogWriter::new();
        for _ in 0..MAX_RUNS {
            log.append(Stream::Stdout, b"a");
            log.append(Stream::Stderr, b"b");
        }
        assert_eq!(log.log.text().runs.len(), MAX_RUNS);
        assert!(log.overflow().is_some());
        // The stream that wrote last continues its own run.
        log.append(Stream::Stderr, b"end");
        assert!(log.collect(Stream::Stderr).ends_with(b"bend"));
    }

    #[tokio::test]
    async fn a_taken_log_holds_a_window_and_its_writer_waits_for_the_reader() {
        let log = Arc::new(LogWriter::new());
        let mut reader = log.take();
        let writer = Arc::clone(&log);
        let writing = tokio::spawn(async move {
            for number in 0..1000_u32 {
                writer.room().await;
                let stream = if number % 3 == 0 {
                    Stream::Stderr
                } else {
                    Stream::Stdout
                };
                writer.append(stream, &[u8::try_from(number % 251).unwrap(); 16 << 10]);
            }
            writer.close();
        });
        let (mut bytes, mut most) = ([0, 0], 0);
        while let Some(chunk) = reader.next().await {
            most = most.max(log.log.text().bytes.capacity());
            bytes[usize::from(chunk.stream == Stream::Stderr)] += chunk.bytes.len();
        }
        writing.await.unwrap();
        assert_eq!(bytes, [666 * (16 << 10), 334 * (16 << 10)]);
        assert_eq!(reader.released(), bytes.map(|bytes| bytes as u64));
        assert!(most <= 4 * WINDOW_BYTES, "{most}");
    }

    #[tokio::test]
    async fn a_dropped_taker_blocks_nobody_and_the_next_one_knows_what_is_gone() {
        let log = LogWriter::new();
        log.append(Stream::Stdout, b"abc");
        let mut reader = log.take();
        assert_eq!(reader.next().await.unwrap().bytes, b"abc");
        log.append(Stream::Stderr, &[b'x'; 2 * WINDOW_BYTES]);
        assert!(log.is_behind());
        drop(reader);
        log.room().await;
        log.append(Stream::Stdout, b"de");
        assert_eq!(log.log.text().bytes.len(), 0);
        let mut reader = log.take();
        assert_eq!(reader.released(), [5, 2 * WINDOW_BYTES as u64]);
        log.append(Stream::Stdout, b"f");
        assert_eq!(reader.next().await.unwrap().bytes, b"f");
    }
}
