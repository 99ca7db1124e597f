//! A task's output while it runs: appended by the driver, followed by any number of readers.
//!
//! A log is kept whole, so that any reader begins at its beginning, until somebody takes it ([`LogWriter::take`]): whoever keeps
//! the output elsewhere. From then on the log holds what is not read yet and no more than a window of it, and whoever appends
//! waits for room.

mod text;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hybrid_cache_model::protocol::Limits;
use tokio::sync::watch;

use text::{Taken, Text};

/// What a log holds beyond the limits of both streams: the runner's own words where a sandbox or pod could not be made.
const MARGIN_BYTES: usize = 64 << 10;

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

#[derive(Debug)]
struct Log {
    text: Mutex<Text>,
    /// Told whenever something is let go of.
    released: watch::Sender<()>,
}

impl Log {
    fn text(&self) -> MutexGuard<'_, Text> {
        // A run without its bytes is an empty one, so the text is good even where appending panicked.
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    log: Arc<Log>,
    progress: watch::Sender<Progress>,
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
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// Holds the log to what a task may print with these limits; what it has already stays.
    pub fn hold_to(&self, limits: &Limits) {
        self.log.text().limit_bytes = bound(limits.output_bytes);
    }

    /// What to tell of output that was not kept, as it came beyond the bound.
    pub fn overflow(&self) -> Option<String> {
        let dropped = self.log.text().dropped_bytes;
        (dropped > 0)
            .then(|| format!("{dropped} bytes of output beyond the limit were dropped: they came past the runner"))
    }

    /// Appends one piece and wakes the readers.
    pub fn append(&self, stream: Stream, bytes: &[u8]) {
        let mut text = self.log.text();
        text.append(stream, bytes);
        let count = text.end();
        drop(text);
        self.progress.send_modify(|progress| progress.bytes = count);
    }

    /// Waits until whoever has taken the log has read enough of it. Without a deadline of its own: a reader that gives up is
    /// dropped, and that makes room.
    pub async fn room(&self) {
        let mut released = self.log.released.subscribe();
        // The sender is this log's own.
        let _ = released.wait_for(|()| !self.is_behind()).await;
    }

    /// True while appending is to wait.
    pub fn is_behind(&self) -> bool {
        self.log.text().is_behind()
    }

    /// Says that nothing more comes.
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

    /// A reader that keeps the output elsewhere: what it has read, the log lets go of. Once it is dropped, the log keeps nothing
    /// more until it is taken again.
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

    /// Everything that one stream carried so far and that is held.
    pub fn collect(&self, stream: Stream) -> Vec<u8> {
        self.log.text().collect(stream)
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
#[derive(Debug)]
pub struct LogReader {
    log: Arc<Log>,
    progress: watch::Receiver<Progress>,
    offset: usize,
    takes: bool,
}

impl LogReader {
    /// The next piece of 64 KiB at most, waiting for it if need be; `None` once the log is closed and read to its end.
    pub async fn next(&mut self) -> Option<Chunk> {
        loop {
            let progress = *self.progress.borrow_and_update();
            if self.offset < progress.bytes {
                return self.read();
            }
            // An error means that the writer is gone: the log ends as if it had been closed.
            if progress.closed || self.progress.changed().await.is_err() {
                return None;
            }
        }
    }

    fn read(&mut self) -> Option<Chunk> {
        let mut text = self.log.text();
        // Another reader may have let go of what this one has not seen.
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

    /// Bytes of standard output and of standard error in front of the first one that this log still holds: a reader that was
    /// just made begins behind them.
    pub fn released(&self) -> [u64; 2] {
        self.log.text().released
    }

    /// Everything that one stream carried so far and that is held, whatever was read already.
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
        assert_eq!(log.log.text().runs.len(), 2);
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
        assert_eq!(log.log.text().runs.len(), MAX_RUNS);
        assert!(log.overflow().is_some());
        // The stream that wrote last goes on in its own run.
        log.append(Stream::Stderr, b"end");
        assert!(log.collect(Stream::Stderr).ends_with(b"bend"));
    }

    #[tokio::test]
    async fn a_taken_log_holds_a_window_and_whoever_appends_waits_for_its_reader() {
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
    async fn a_taker_that_goes_away_holds_nobody_up_and_the_next_one_is_told_what_is_gone() {
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
