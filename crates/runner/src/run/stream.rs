//! Passes one output stream of the user's program on, up to a limit and without delay.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hybrid_cache_model::{Output, Protection};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// Bytes to read at once, and the most that is buffered.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes that a writable pipe or socket takes without blocking (`PIPE_BUF`).
const WRITE_BYTES: usize = 4096;

/// Bytes of the end of a stream that are remembered.
const RECENT_BYTES: usize = 8 << 10;

/// A pipe from the user's program and its destination.
pub struct OutputStream {
    source: Option<OwnedFd>,
    sink: Sink,
    buffer: Box<[u8]>,
    /// The part of the buffer that is read and not yet passed on.
    pending: std::ops::Range<usize>,
    /// How many bytes may still be passed on.
    allowance: u64,
    counted: Output,
    /// The end of what the program wrote, passed on or not.
    recent: Vec<u8>,
}

/// The bytes go.
enum Sink {
    /// To this descriptor of the runner.
    Open(BorrowedFd<'static>),
    /// Nowhere, because its reader has ended. The source is still read, so that the user's program does not notice.
    Closed,
}

impl OutputStream {
    /// Passes at most `limit_bytes` from `source` to `sink`.
    ///
    /// # Errors
    /// The source cannot be made non-blocking.
    pub fn new(source: OwnedFd, sink: BorrowedFd<'static>, limit_bytes: u64) -> rustix::io::Result<OutputStream> {
        rustix::io::ioctl_fionbio(&source, true)?;
        Ok(OutputStream {
            source: Some(source),
            sink: Sink::Open(sink),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            pending: 0..0,
            allowance: if Protection::OutputLimit.is_on() {
                limit_bytes
            } else {
                u64::MAX
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
            Ok(0) => self.source = None,
            Ok(got) => {
                self.counted.written_bytes += got as u64;
                self.remember(got);
                if matches!(self.sink, Sink::Open(_)) {
                    self.pending = 0..usize::try_from(self.allowance).map_or(got, |allowed| got.min(allowed));
                    self.allowance -= self.pending.len() as u64;
                }
                return got;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.source = None,
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
    fn output_beyond_the_limit_is_read_counted_and_dropped() {
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
