//! Passes one output stream of the user's program on, up to a limit: its beginning without delay, and its end once it has
//! ended, because what a program prints last often says why it failed.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hybrid_cache_model::{Output, Protection};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// Bytes to read at once, and the most that is buffered.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes that a writable pipe or socket takes without blocking (`PIPE_BUF`).
const WRITE_BYTES: usize = 4096;
/// Most bytes of a stream's end that are held back; half of a smaller limit.
const MAX_TAIL_BYTES: u64 = 1 << 20;
/// A smaller limit has no room for an end and the line before it.
const MIN_LIMIT_WITH_TAIL: u64 = 1 << 10;
/// Bytes of the end of a stream that are remembered.
const RECENT_BYTES: usize = 8 << 10;

/// A pipe from the user's program and its destination.
pub struct OutputStream {
    source: Option<OwnedFd>,
    sink: Sink,
    buffer: Box<[u8]>,
    /// The part of the buffer that is read and not yet passed on.
    pending: std::ops::Range<usize>,
    /// Most bytes that may be passed on in all.
    limit_bytes: u64,
    /// How many bytes of the beginning may still be passed on.
    allowance: u64,
    tail: Tail,
    counted: Output,
    /// The end of what the program wrote, passed on or not.
    recent: Vec<u8>,
}

/// The last bytes behind the beginning, which are passed on once the stream has ended.
struct Tail {
    bytes: VecDeque<u8>,
    max_bytes: usize,
    /// True if some were left out in front of these.
    cut: bool,
}

impl Tail {
    fn append(&mut self, bytes: &[u8]) {
        let fresh = &bytes[bytes.len().saturating_sub(self.max_bytes)..];
        let too_many = (self.bytes.len() + fresh.len()).saturating_sub(self.max_bytes);
        self.cut |= too_many > 0 || fresh.len() < bytes.len();
        self.bytes.drain(..too_many);
        self.bytes.extend(fresh);
    }

    /// What to pass on: all of it, or a line that says what is missing and then as much of the end as there is room for.
    fn take(&mut self, written_bytes: u64, limit_bytes: u64) -> Vec<u8> {
        let mut end = std::mem::take(&mut self.bytes);
        if !self.cut || self.max_bytes == 0 {
            return end.into();
        }
        let line = format!("\n[the middle of {written_bytes} bytes is left out: the limit is {limit_bytes}]\n");
        end.drain(..line.len());
        let mut text = line.into_bytes();
        text.extend(end);
        text
    }
}

/// The bytes go.
enum Sink {
    /// To this descriptor of the runner.
    Open(BorrowedFd<'static>),
    /// Nowhere, because its reader has ended. The source is still read, so that the user's program does not notice.
    Closed,
}

impl OutputStream {
    /// Passes at most `limit_bytes` from `source` to `sink`; of more, the beginning and the end.
    ///
    /// # Errors
    /// The source cannot be made non-blocking.
    pub fn new(source: OwnedFd, sink: BorrowedFd<'static>, limit_bytes: u64) -> rustix::io::Result<OutputStream> {
        rustix::io::ioctl_fionbio(&source, true)?;
        let limit_bytes = if Protection::OutputLimit.is_on() {
            limit_bytes
        } else {
            u64::MAX
        };
        let tail_bytes = if limit_bytes < MIN_LIMIT_WITH_TAIL {
            0
        } else {
            MAX_TAIL_BYTES.min(limit_bytes / 2)
        };
        Ok(OutputStream {
            source: Some(source),
            sink: Sink::Open(sink),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            pending: 0..0,
            limit_bytes,
            allowance: limit_bytes - tail_bytes,
            tail: Tail {
                bytes: VecDeque::new(),
                max_bytes: usize::try_from(tail_bytes).unwrap_or_default(),
                cut: false,
            },
            counted: Output::default(),
            recent: Vec::new(),
        })
    }

    /// The event that this stream waits for; `None` once it is done.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        match (&self.sink, &self.source) {
            (Sink::Open(sink), _) if !self.pending.is_empty() => {
                Some(PollFd::from_borrowed_fd(sink.as_fd(), PollFlags::OUT))
            }
            (_, Some(source)) => Some(PollFd::new(source, PollFlags::IN)),
            (_, None) => None,
        }
    }

    /// True once everything the program wrote is passed on or counted as cut.
    pub fn is_done(&self) -> bool {
        self.source.is_none() && self.pending.is_empty()
    }

    /// How much went through.
    pub fn output(&self) -> Output {
        self.counted
    }

    /// Moves what can be moved without waiting. Returns the number of bytes.
    pub fn advance(&mut self) -> usize {
        let mut moved = 0;
        // Bounded, so that a program that writes without pause does not block the other stream and the time limit.
        for _ in 0..4 {
            let step = self.pass_on() + if self.pending.is_empty() { self.fill() } else { 0 };
            if step == 0 {
                break;
            }
            moved += step;
        }
        moved
    }

    /// Reads one buffer, and decides how much of it may be passed on.
    fn fill(&mut self) -> usize {
        let Some(source) = &self.source else { return 0 };
        match rustix::io::read(source, &mut *self.buffer) {
            Ok(got) if got > 0 => {
                self.counted.written_bytes += got as u64;
                self.remember(got);
                if matches!(self.sink, Sink::Open(_)) {
                    self.pending = 0..usize::try_from(self.allowance).map_or(got, |allowed| got.min(allowed));
                    self.allowance -= self.pending.len() as u64;
                    self.tail.append(&self.buffer[self.pending.end..got]);
                }
                return got;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => self.end(),
        }
        0
    }

    /// Remembers the end of the first `got` bytes of the buffer.
    fn remember(&mut self, got: usize) {
        let last = &self.buffer[got.saturating_sub(RECENT_BYTES)..got];
        let kept = RECENT_BYTES.saturating_sub(last.len()).min(self.recent.len());
        self.recent.drain(..self.recent.len() - kept);
        self.recent.extend_from_slice(last);
    }

    /// The last bytes that the program wrote, at most [`RECENT_BYTES`].
    pub fn recent(&self) -> &[u8] {
        &self.recent
    }

    /// The source has ended: what was held back is next.
    fn end(&mut self) {
        self.source = None;
        if matches!(self.sink, Sink::Open(_)) {
            self.buffer = self.tail.take(self.counted.written_bytes, self.limit_bytes).into();
            self.pending = 0..self.buffer.len();
        }
    }

    /// Writes while the sink accepts data without blocking. Does not change the sink's flags, because the descriptor
    /// may be shared with the terminal's shell.
    fn pass_on(&mut self) -> usize {
        let mut passed = 0;
        while let Sink::Open(sink) = self.sink
            && !self.pending.is_empty()
            && is_writable(sink)
        {
            let end = self.pending.end.min(self.pending.start + WRITE_BYTES);
            match rustix::io::write(sink, &self.buffer[self.pending.start..end]) {
                Ok(wrote) => {
                    self.pending.start += wrote;
                    self.counted.passed_bytes += wrote as u64;
                    passed += wrote;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.close_sink(),
            }
        }
        passed
    }

    fn close_sink(&mut self) {
        self.sink = Sink::Closed;
        self.pending = 0..0;
        self.tail.bytes = VecDeque::new();
    }

    /// Drops what is not yet passed on; the counts show how much.
    pub fn abandon(&mut self) {
        self.source = None;
        self.close_sink();
    }
}

/// Checked before each write: if both streams share a pipe, the other one may just have filled it.
fn is_writable(sink: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut poll = [PollFd::from_borrowed_fd(sink, PollFlags::OUT)];
    // An error state counts as writable; the write then returns the error.
    matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(1..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Runs `bytes` through a stream with the given limit into a pipe; returns what came out and the counts.
    fn check(bytes: &[u8], limit_bytes: u64) -> (Vec<u8>, Output) {
        let (source, input) = rustix::pipe::pipe().unwrap();
        let (out, sink) = rustix::pipe::pipe().unwrap();
        let sink: &'static OwnedFd = Box::leak(Box::new(sink));
        rustix::io::ioctl_fionbio(&out, true).unwrap();
        rustix::io::write(&input, bytes).unwrap();
        drop(input);
        let mut stream = OutputStream::new(source, sink.as_fd(), limit_bytes).unwrap();
        while !stream.is_done() {
            stream.advance();
        }
        let mut came = Vec::new();
        let _ = std::fs::File::from(out).read_to_end(&mut came);
        (came, stream.output())
    }

    #[test]
    fn everything_below_the_limit_passes_byte_for_byte() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let (came, output) = check(&bytes, 10_000);
        assert_eq!(came, bytes);
        assert_eq!(
            output,
            Output {
                written_bytes: 10_000,
                passed_bytes: 10_000
            }
        );
    }

    #[test]
    fn of_too_much_output_the_beginning_and_the_end_are_passed_on() {
        let bytes: Vec<u8> = (0..5000_u16).flat_map(u16::to_be_bytes).collect();
        for limit_bytes in [1024, 5000, 9999] {
            let (came, output) = check(&bytes, limit_bytes);
            let half = usize::try_from(limit_bytes).unwrap() / 2;
            let line = format!("\n[the middle of 10000 bytes is left out: the limit is {limit_bytes}]\n");
            let (beginning, end) = came.split_at(came.len() - half);
            assert_eq!(beginning, &bytes[..beginning.len()]);
            let end = end.strip_prefix(line.as_bytes()).unwrap();
            assert!(bytes.ends_with(end) && end.len() == half - line.len());
            assert_eq!((came.len() as u64, output.passed_bytes), (limit_bytes, limit_bytes));
        }
    }

    #[test]
    fn a_tail_keeps_the_last_bytes_however_they_come() {
        let bytes: Vec<u8> = (0..100).collect();
        for size in [1, 3, 9, 10, 11, 100] {
            let mut tail = Tail {
                bytes: VecDeque::new(),
                max_bytes: 10,
                cut: false,
            };
            tail.append(&bytes[..10]);
            assert!(!tail.cut);
            bytes[10..].chunks(size).for_each(|part| tail.append(part));
            assert!(tail.cut);
            assert_eq!(Vec::from(tail.bytes), bytes[90..], "in pieces of {size}");
        }
    }

    #[test]
    fn output_beyond_a_small_limit_is_read_counted_and_dropped() {
        let (came, output) = check(&[7; 10_000], 100);
        assert_eq!(came.len(), 100);
        assert_eq!(
            output,
            Output {
                written_bytes: 10_000,
                passed_bytes: 100
            }
        );
    }
}
