//! The paths of requests, and what of them is accepted.

use std::fmt::Write as _;

use crate::range::Variant;

/// Longest path that is answered, in bytes.
const MAX_BYTES: usize = 2048;
/// Longest name of a file.
const MAX_NAME: usize = 255;
/// Length of the hexadecimal identity of a file.
pub const ID_LENGTH: usize = 32;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A path below an upstream.
    Below {
        /// The upstream's label.
        label: String,
        /// The path, as it was sent; empty for the upstream's own address.
        rest: String,
    },
    /// A file that a page has a link to.
    Linked {
        /// Digest of its address.
        id: String,
        /// Its name, not encoded. The metadata of a wheel have `.metadata` behind its name.
        name: String,
    },
}

/// The first part of paths of files; no label is like it.
pub const FILES: &str = "files";

impl Asked {
    /// Reads a request's path behind the secret; `None` if it is not one that a client of an index or a mirror sends.
    pub fn read(path: &str) -> Option<Asked> {
        if path.len() > MAX_BYTES || !path.bytes().all(is_accepted) {
            return None;
        }
        let (first, rest) = path.split_once('/')?;
        if first == FILES {
            let (id, name) = rest.split_once('/')?;
            let name = decoded(name)?;
            let is_id = id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            return (is_id && is_file_name(&name)).then(|| Asked::Linked {
                id: id.to_owned(),
                name,
            });
        }
        let mut parts = rest.strip_suffix('/').unwrap_or(rest).split('/');
        let is_plain = |part: &str| decoded(part).is_some_and(|part| is_part(&part));
        let is_good = is_label(first) && (rest.is_empty() || parts.all(is_plain));
        is_good.then(|| Asked::Below {
            label: first.to_owned(),
            rest: rest.to_owned(),
        })
    }

    /// What identifies the answer in a recording.
    pub fn place(&self, variant: Variant) -> String {
        match self {
            Asked::Below { label, rest } => format!("{label} {rest} {}", variant.name()),
            Asked::Linked { id, name } => format!("{FILES} {id} {name}"),
        }
    }

    /// The same for a person.
    pub fn shown(&self) -> String {
        match self {
            Asked::Below { label, rest } => format!("/{label}/{rest}"),
            Asked::Linked { id, name } => format!("/{FILES}/{id}/{name}"),
        }
    }

    /// From the folder of this path up to the root of the mirror.
    pub fn way_up(&self) -> String {
        match self {
            Asked::Below { rest, .. } => "../".repeat(rest.matches('/').count() + 1),
            Asked::Linked { .. } => "../../".to_owned(),
        }
    }
}

fn is_accepted(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+~%!@,:=".contains(&byte)
}

fn is_part(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\\']) && !part.contains(char::is_control)
}

/// True for the name of an upstream.
pub fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) && text != FILES
}

/// True for the name of a file that an index may offer.
pub fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~!".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('.') && name.bytes().all(plain)
}

/// Without percent-encoding; `None` if it is broken or not UTF-8.
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok()?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok()
}

/// The name of a file as a part of an address.
pub fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte == b'+' || byte == b'!' {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        } else {
            text.push(char::from(byte));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_clients_ask_for_is_read_and_nothing_else() {
        let below = |label: &str, rest: &str| Asked::Below {
            label: label.to_owned(),
            rest: rest.to_owned(),
        };
        assert_eq!(Asked::read("default/numpy/"), Some(below("default", "numpy/")));
        assert_eq!(Asked::read("links-1/"), Some(below("links-1", "")));
        let deb = "pool/main/g/g%2b%2b_12~1-2_amd64.deb";
        assert_eq!(Asked::read(&format!("debian-0/{deb}")), Some(below("debian-0", deb)));
        let file = Asked::read(&format!("files/{ID}/torch-2%2Bcpu-py3-none-any.whl")).unwrap();
        assert!(file.shown().ends_with("/torch-2+cpu-py3-none-any.whl"), "{file:?}");
        for wrong in [
            "",
            "default",
            "Default/x/",
            "default/../secret",
            "default/%2e%2e/x",
            "default/a//b",
            "default/a%2fb/",
            "default/a%00/",
            "default/a%0ab/",
            "default/a%5c/",
            "default/x?y",
            "default/x y",
            "default/%zz",
            "files/short/x.whl",
            "files/0123456789abcdef0123456789abcdef/.x",
            "files/0123456789abcdef0123456789abcdef/a%2fb",
        ] {
            assert_eq!(Asked::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_link_leads_up_from_the_folder_of_its_page() {
        for (path, up) in [
            ("default/numpy/", "../../"),
            ("default/numpy", "../"),
            ("links-0/", "../"),
        ] {
            assert_eq!(Asked::read(path).unwrap().way_up(), up, "{path}");
        }
        assert_eq!(decoded(&encoded("a-1!2+3.whl")).as_deref(), Some("a-1!2+3.whl"));
    }
}
