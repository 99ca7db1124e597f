//! The format of an output file, which keeps the order of both streams.
//!
//! A frame is a number and bytes of one stream. The number is `length * 2 + stream` in groups of seven bits, lowest
//! first; the top bit of a byte says that another follows. So a line of up to 63 bytes costs one more byte. A frame
//! that ends before its length was left by a killed process and is ignored.

use hybrid_cache_driver::log::Stream;

/// Most bytes of one frame, which bounds the memory of a reader.
pub const MAX_FRAME_BYTES: usize = 64 << 10;
/// Most bytes of a frame's number.
pub const MAX_HEAD_BYTES: usize = 3;

/// A frame's number, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The stream.
    pub stream: Stream,
    /// Bytes of the number itself.
    pub head_bytes: usize,
    /// Bytes after it.
    pub bytes: usize,
}

/// Appends frames for these bytes.
pub fn write(stream: Stream, bytes: &[u8], into: &mut Vec<u8>) {
    for piece in bytes.chunks(MAX_FRAME_BYTES) {
        let mut number = piece.len() << 1 | usize::from(stream == Stream::Stderr);
        while number >= 0x80 {
            into.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
            number >>= 7;
        }
        into.push(u8::try_from(number).unwrap_or_default());
        into.extend_from_slice(piece);
    }
}

/// Reads the number at the beginning; `None` if it is incomplete or invalid.
pub fn head(from: &[u8]) -> Option<Head> {
    let mut number = 0;
    for (at, byte) in from.iter().take(MAX_HEAD_BYTES).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let stream = if number & 1 == 0 {
                Stream::Stdout
            } else {
                Stream::Stderr
            };
            let head = Head {
                stream,
                head_bytes: at + 1,
                bytes: number >> 1,
            };
            return Some(head).filter(|head| (1..=MAX_FRAME_BYTES).contains(&head.bytes));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back_in_its_order(pieces in proptest::collection::vec((any::<bool>(), 1_usize..200_000), 0..6)) {
            let mut file = Vec::new();
            let mut expected = 0;
            for (stderr, size) in &pieces {
                let stream = if *stderr { Stream::Stderr } else { Stream::Stdout };
                write(stream, &vec![b'x'; *size], &mut file);
                expected += size;
            }
            let (mut at, mut seen) = (0, 0);
            while let Some(found) = head(&file[at..]) {
                at += found.head_bytes + found.bytes;
                seen += found.bytes;
            }
            prop_assert_eq!((at, seen), (file.len(), expected));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
            let _ = head(&bytes);
        }
    }

    #[test]
    fn a_short_line_costs_one_byte_more() {
        let mut file = Vec::new();
        write(Stream::Stderr, &[b'x'; 63], &mut file);
        assert_eq!(file.len(), 64);
    }
}
