//! Writes a task's output as server-sent events. Characters stay whole, and each event says where to continue after it.

use hybrid_cache_api::{EndEvent, StreamName, TaskSummary};
use hybrid_cache_driver::log::Stream;

use crate::output::OutputChunk;

/// One piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextChunk {
    /// The stream it is from.
    pub stream: Stream,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Bytes of both streams up to its end.
    pub next: u64,
}

/// Decodes bytes that may break off within a character.
#[derive(Debug, Default)]
pub struct Utf8Decoder {
    /// The beginning of a character, its stream, and the position after its bytes.
    begun: Option<(Stream, Vec<u8>, u64)>,
}

impl Utf8Decoder {
    /// The text of one more chunk, in order, after what was left over from the previous one.
    pub fn take(&mut self, chunk: OutputChunk) -> Vec<TextChunk> {
        let mut pieces = Vec::new();
        let mut bytes = chunk.bytes;
        match self.begun.take() {
            Some((stream, mut begun, _)) if stream == chunk.stream => {
                begun.extend_from_slice(&bytes);
                bytes = begun;
            }
            // The other stream interrupts it: waiting for the rest would change the order.
            Some((stream, begun, next)) => pieces.push(piece(stream, &begun, next)),
            None => {}
        }
        let rest = bytes.split_off(bytes.len() - begun_bytes(&bytes));
        let next = chunk.next - rest.len() as u64;
        if !bytes.is_empty() {
            pieces.push(piece(chunk.stream, &bytes, next));
        }
        if !rest.is_empty() {
            self.begun = Some((chunk.stream, rest, chunk.next));
        }
        pieces
    }

    /// What is left over at the end.
    pub fn finish(&mut self) -> Option<TextChunk> {
        self.begun
            .take()
            .map(|(stream, bytes, next)| piece(stream, &bytes, next))
    }
}

fn piece(stream: Stream, bytes: &[u8], next: u64) -> TextChunk {
    TextChunk {
        stream,
        text: String::from_utf8_lossy(bytes).into_owned(),
        next,
    }
}

/// How many bytes at the end may be the beginning of a character.
fn begun_bytes(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    for (at, byte) in tail.iter().enumerate().rev() {
        if byte & 0b1100_0000 == 0b1000_0000 {
            continue;
        }
        let begun = &tail[at..];
        let may_go_on = std::str::from_utf8(begun).is_err_and(|error| error.error_len().is_none());
        return if may_go_on { begun.len() } else { 0 };
    }
    0
}

/// The API's name for a stream.
fn stream_name(stream: Stream) -> StreamName {
    match stream {
        Stream::Stdout => StreamName::Stdout,
        Stream::Stderr => StreamName::Stderr,
    }
}

/// The event of a piece of text. Its data is a JSON string, so that line breaks survive.
pub fn event(piece: &TextChunk) -> String {
    let data = serde_json::Value::from(piece.text.as_str());
    format!(
        "id: {}\nevent: {}\ndata: {data}\n\n",
        piece.next,
        stream_name(piece.stream).name()
    )
}

/// The last event of a task that has ended.
pub fn end_event(summary: &TaskSummary) -> String {
    let end = EndEvent {
        end: summary.end,
        exit_code: summary.exit_code,
        state: summary.state,
    };
    // A struct of words and numbers always serialises; if it did not, the client would follow again and read the task.
    let data = serde_json::to_string(&end).unwrap_or_default();
    format!("event: end\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(stream: Stream, bytes: &[u8], next: u64) -> OutputChunk {
        OutputChunk {
            stream,
            bytes: bytes.to_vec(),
            next,
        }
    }

    #[test]
    fn a_character_in_two_chunks_stays_whole() {
        let mut whole = Utf8Decoder::default();
        let euro = "€".as_bytes();
        assert_eq!(
            whole.take(chunk(Stream::Stdout, &[b"a", &euro[..1]].concat(), 2)),
            [piece(Stream::Stdout, b"a", 1)]
        );
        assert_eq!(whole.take(chunk(Stream::Stdout, &euro[1..2], 3)), []);
        assert_eq!(
            whole.take(chunk(Stream::Stdout, &euro[2..], 4)),
            [piece(Stream::Stdout, euro, 4)]
        );
        assert_eq!(whole.finish(), None);
    }

    #[test]
    fn output_of_the_other_stream_keeps_its_order() {
        let mut whole = Utf8Decoder::default();
        assert_eq!(whole.take(chunk(Stream::Stdout, b"\xe2\x82", 2)), []);
        let pieces = whole.take(chunk(Stream::Stderr, b"x", 3));
        assert_eq!(
            pieces,
            [piece(Stream::Stdout, b"\xe2\x82", 2), piece(Stream::Stderr, b"x", 3)]
        );
    }

    #[test]
    fn an_event_has_one_line_of_data_whatever_is_printed() {
        let text = "a\r\n\nevent: end\u{2028}\"";
        let written = event(&piece(Stream::Stderr, text.as_bytes(), 7));
        let lines: Vec<&str> = written.split('\n').collect();
        assert_eq!(lines[..2], ["id: 7", "event: stderr"]);
        assert_eq!(
            serde_json::from_str::<String>(lines[2].strip_prefix("data: ").unwrap()).unwrap(),
            text
        );
        assert_eq!(lines[3..], ["", ""]);
    }

    proptest! {
        #[test]
        fn however_text_is_cut_it_comes_whole(text in "\\PC{0,40}", cuts in proptest::collection::vec(0_usize..160, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut whole = Utf8Decoder::default();
            let mut seen = String::new();
            for cut in cuts.windows(2).filter(|cut| cut[0] < cut[1]) {
                for piece in whole.take(chunk(Stream::Stdout, &bytes[cut[0]..cut[1]], cut[1] as u64)) {
                    seen.push_str(&piece.text);
                    prop_assert_eq!(seen.len() as u64, piece.next);
                }
            }
            prop_assert_eq!(seen, text);
            prop_assert_eq!(whole.finish(), None);
        }

        #[test]
        fn no_byte_is_lost_or_held_back_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let mut whole = Utf8Decoder::default();
            let mut seen = 0;
            for (at, byte) in bytes.iter().enumerate() {
                for piece in whole.take(chunk(Stream::Stdout, &[*byte], at as u64 + 1)) {
                    seen = piece.next;
                }
                prop_assert!(at as u64 + 1 - seen <= 3);
            }
            seen = whole.finish().map_or(seen, |piece| piece.next);
            prop_assert_eq!(seen, bytes.len() as u64);
        }
    }
}
