//! The parts of a task's output that are shown with the task.

use std::collections::VecDeque;
use std::io;

use hybrid_cache_driver::log::Stream;

use super::reader::OutputReader;

/// How many times the shown size is read at most of a task that still runs, because the other stream may begin far behind.
const READ_SHARE: usize = 4;

/// What is shown of one stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ShownStream {
    /// Its text, with a line for what is left out.
    pub text: Vec<u8>,
    /// How many of its bytes are in `text`.
    pub shown_bytes: u64,
}

/// The beginning of both streams, up to `limit_bytes` of each.
pub(crate) async fn beginning(mut reader: OutputReader, limit_bytes: usize) -> io::Result<[ShownStream; 2]> {
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
    Ok(streams.map(|text| ShownStream {
        shown_bytes: text.len() as u64,
        text,
    }))
}

/// Both streams, up to `limit_bytes` of each: of a longer one its beginning, a line, and its end. Reads all of the output.
pub(crate) async fn ends(mut reader: OutputReader, limit_bytes: usize) -> io::Result<[ShownStream; 2]> {
    let empty = || Ends {
        head: Vec::new(),
        tail: VecDeque::new(),
        max_bytes: [limit_bytes / 2, limit_bytes - limit_bytes / 2],
        left_out: 0,
    };
    let mut streams = [empty(), empty()];
    while let Some(chunk) = reader.next().await? {
        streams[usize::from(chunk.stream == Stream::Stderr)].append(&chunk.bytes);
    }
    Ok(streams.map(Ends::shown))
}

/// The beginning and the end of one stream.
struct Ends {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Most bytes of each.
    max_bytes: [usize; 2],
    left_out: usize,
}

impl Ends {
    fn append(&mut self, bytes: &[u8]) {
        let [max_head, max_tail] = self.max_bytes;
        let (first, rest) = bytes.split_at(bytes.len().min(max_head - self.head.len()));
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let too_many = self.tail.len().saturating_sub(max_tail);
        self.tail.drain(..too_many);
        self.left_out += too_many;
    }

    fn shown(self) -> ShownStream {
        let mut text = self.head;
        let shown_bytes = (text.len() + self.tail.len()) as u64;
        if self.left_out > 0 {
            let line = format!("\n[{} bytes are left out here; the log has them]\n", self.left_out);
            text.extend_from_slice(line.as_bytes());
        }
        text.extend(self.tail);
        ShownStream { text, shown_bytes }
    }
}
