//! What a client says about the answer that it wants: its form, its coding, and a part of it.

use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName, IF_NONE_MATCH, RANGE};

/// The form of an index page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The client takes JSON (PEP 691), and HTML as a second choice.
    Json,
    /// HTML (PEP 503).
    Html,
}

/// What a client of an index sends if it takes JSON: the same for all, so that a recording does not depend on who asked.
const TAKES_JSON: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01";
const TAKES_HTML: &str = "application/vnd.pypi.simple.v1+html, text/html;q=0.1";

impl Variant {
    /// What the client asks for.
    pub fn wanted(headers: &HeaderMap) -> Variant {
        if text(headers, ACCEPT).contains("application/vnd.pypi.simple.v1+json") {
            Variant::Json
        } else {
            Variant::Html
        }
    }

    /// Its name in a recording.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Json => "json",
            Variant::Html => "html",
        }
    }

    /// The header `Accept` for the upstream.
    pub fn accept(self) -> &'static str {
        match self {
            Variant::Json => TAKES_JSON,
            Variant::Html => TAKES_HTML,
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// True if the client takes gzip.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut codings = text(headers, ACCEPT_ENCODING).split(',');
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|part| part == "q=0" || part == "q=0.0")
    })
}

/// True if the client has this content already.
pub fn has_already(headers: &HeaderMap, tag: &str) -> bool {
    let tags = text(headers, IF_NONE_MATCH);
    !tag.is_empty() && tags.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// From the first to in front of the second byte.
    Bytes(u64, u64),
    /// A part that does not exist.
    Outside,
}

impl Part {
    /// What the header `Range` asks for, of a file of `length` bytes. Several ranges are answered with the whole, as the standard
    /// permits.
    pub fn wanted(headers: &HeaderMap, length: u64) -> Part {
        let Some(range) = text(headers, RANGE).strip_prefix("bytes=") else {
            return Part::Whole;
        };
        let Some((from, to)) = range.trim().split_once('-') else {
            return Part::Whole;
        };
        let part = match (from.parse::<u64>(), to.parse::<u64>()) {
            (Ok(from), Ok(last)) => (from, last.saturating_add(1).min(length)),
            (Ok(from), Err(_)) if to.is_empty() => (from, length),
            (Err(_), Ok(count)) if from.is_empty() => (length.saturating_sub(count), length),
            _ => return Part::Whole,
        };
        if part.0 < part.1 {
            Part::Bytes(part.0, part.1)
        } else {
            Part::Outside
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (value, part) in [
            ("bytes=0-9", Part::Bytes(0, 10)),
            ("bytes=5-", Part::Bytes(5, 100)),
            ("bytes=-7", Part::Bytes(93, 100)),
            ("bytes=-700", Part::Bytes(0, 100)),
            ("bytes=90-1000", Part::Bytes(90, 100)),
            ("bytes=100-", Part::Outside),
            ("bytes=9-3", Part::Outside),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(Part::wanted(&headers(RANGE, value), 100), part, "{value}");
        }
        assert_eq!(Part::wanted(&HeaderMap::new(), 100), Part::Whole);
    }

    #[test]
    fn forms_and_codings_are_chosen_by_the_client() {
        assert_eq!(Variant::wanted(&headers(ACCEPT, TAKES_JSON)), Variant::Json);
        assert_eq!(Variant::wanted(&headers(ACCEPT, "text/html")), Variant::Html);
        assert!(takes_gzip(&headers(ACCEPT_ENCODING, "br, gzip;q=0.8")));
        assert!(!takes_gzip(&headers(ACCEPT_ENCODING, "gzip;q=0")) && !takes_gzip(&HeaderMap::new()));
        assert!(has_already(&headers(IF_NONE_MATCH, "\"a\", W/\"b\""), "\"b\""));
    }
}
