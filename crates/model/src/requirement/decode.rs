//! The text of a requirements file from its bytes.

use super::refusal::Refusal;

/// Reads UTF-8, or UTF-16 if a byte order mark says so; the mark is dropped.
///
/// # Errors
/// The bytes are not text in that encoding; the message says at which byte.
pub fn decode(bytes: &[u8]) -> Result<String, Refusal> {
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let text = std::str::from_utf8(bytes).map_err(|error| {
                let message = format!("not UTF-8 at byte {}", error.valid_up_to());
                Refusal::new(message, "save the file as UTF-8")
            })?;
            Ok(text.to_owned())
        }
    }
}

fn utf16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<String, Refusal> {
    let broken = || {
        Refusal::new(
            "not UTF-16, although its byte order mark says so",
            "save the file as UTF-8",
        )
    };
    let (units, []) = bytes.as_chunks::<2>() else {
        return Err(broken());
    };
    let units = units.iter().map(|pair| unit(*pair));
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_with_a_mark_is_read() {
        let wide = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
            mark.into_iter()
                .chain("é==1\r\n".encode_utf16().flat_map(bytes))
                .collect::<Vec<u8>>()
        };
        for bytes in [
            "é==1\r\n".as_bytes().to_vec(),
            "\u{feff}é==1\r\n".as_bytes().to_vec(),
            wide([0xff, 0xfe], u16::to_le_bytes),
            wide([0xfe, 0xff], u16::to_be_bytes),
        ] {
            assert_eq!(decode(&bytes).unwrap(), "é==1\r\n");
        }
        assert_eq!(decode(b"").unwrap(), "");
        assert_eq!(decode(b"a # \xe9").unwrap_err().message, "not UTF-8 at byte 4");
        for bytes in [&b"\xff\xfea"[..], b"\xff\xfe\x00\xd8"] {
            assert!(decode(bytes).unwrap_err().message.starts_with("not UTF-16"));
        }
    }
}
