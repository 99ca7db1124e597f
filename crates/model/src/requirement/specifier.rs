//! One version specifier, such as `>=2` or `==1.*`: part of a requirement and of a marker.

use std::str::FromStr;

use pep440_rs::VersionSpecifier;

use super::refusal::{Refusal, quote};

/// Reads one specifier, such as `>=2` or `==1.*`.
pub(super) fn specifier(text: &str) -> Result<VersionSpecifier, Refusal> {
    let refuse = |why: &str, hint: &str| Err(Refusal::new(format!("{} {why}", quote(text)), hint));
    if text.is_empty() {
        return Err(Refusal::new(
            "a comma without a version after it",
            "leave the last comma out",
        ));
    }
    if text.starts_with('=') && !text.starts_with("==") {
        return refuse(
            "is not a comparison of versions",
            "an exact version is written with `==`",
        );
    }
    match VersionSpecifier::from_str(text) {
        Ok(specifier) => Ok(specifier),
        Err(error) => {
            let why = format!("is not a version specifier: {}", one_line(&error.to_string()));
            refuse(
                &why,
                "write a comparison and a version, and commas between several: `>=2,<3`",
            )
        }
    }
}

/// Another crate's message in our form: its first line, printable, beginning in lower case.
fn one_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let mut chars = line
        .chars()
        .map(|c| if c.is_control() || !c.is_ascii() { '?' } else { c });
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}
