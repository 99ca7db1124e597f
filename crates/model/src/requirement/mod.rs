//! Python requirements as users may write them: names, extras, versions and markers, but no URLs, paths or options.
//!
//! Requirement text is an attack surface: installers read options, paths, URLs and environment variables out of it.
//! So none of a user's text goes any further. This module refuses everything that is not a plain requirement before any
//! process starts, and writes accepted requirements again from their parsed parts.

mod grammar;
mod lines;
mod marker;
mod refusal;
mod scan;
mod specifier;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::task_error::TaskError;

pub use lines::MAX_LINES;
pub use marker::MAX_MARKER_DEPTH;
pub use refusal::Refusal;
pub use scan::MAX_REQUIREMENT_BYTES;

/// One requirement in normal form, such as `numpy[dev]>=2,<3 ; python_version >= "3.11"`.
///
/// The name as PEP 503 normalises it, sorted extras, version specifiers as PEP 440 normalises them and sorted by
/// version, the marker with its operands sorted and in double quotes. Always one line of printable ASCII that does not
/// begin with a hyphen, and a fixed point: reading a normal form gives the same normal form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Requirement(String);

impl Requirement {
    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The package's name in normal form: lower case, hyphens for `_` and `.`.
    pub fn name(&self) -> &str {
        let end = self
            .0
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .unwrap_or(self.0.len());
        &self.0[..end]
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Requirement {
    type Err = Refusal;

    /// Reads one requirement, without a comment.
    fn from_str(text: &str) -> Result<Requirement, Refusal> {
        let text = text.trim_matches([' ', '\t']);
        scan::check(text)?;
        grammar::normalise(text).map(Requirement)
    }
}

impl TryFrom<String> for Requirement {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Requirement, Refusal> {
        text.parse()
    }
}

impl From<Requirement> for String {
    fn from(requirement: Requirement) -> String {
        requirement.0
    }
}

/// Reads a comma-separated list.
///
/// A segment that starts with a comparison continues the one before, so `numpy>=1,<2,pandas[a,b]` holds two
/// requirements. White space, blank lines and extra commas are ignored; a new line separates like a comma.
///
/// # Errors
/// The first entry that is not a plain requirement.
pub fn parse_list(pointer: &'static str, text: &str) -> Result<Vec<Requirement>, TaskError> {
    lines::check_size(text).map_err(|refusal| refusal.at(pointer, None))?;
    let refused = |refusal: Refusal| refusal.at(pointer, None);
    lines::split_list(text)
        .iter()
        .map(|entry| entry.parse().map_err(refused))
        .collect()
}

/// Reads the text of a requirements file: one requirement a line, comments from a `#` on.
///
/// # Errors
/// The first line that is not a plain requirement.
pub fn parse_file(pointer: &'static str, text: &str) -> Result<Vec<Requirement>, TaskError> {
    lines::check_size(text).map_err(|refusal| refusal.at(pointer, None))?;
    let mut requirements = Vec::new();
    for (number, line) in lines::split_file(text) {
        let entry = scan::without_comment(line).trim_matches([' ', '\t']);
        if !entry.is_empty() {
            requirements.push(
                entry
                    .parse()
                    .map_err(|refusal: Refusal| refusal.at(pointer, Some(number)))?,
            );
        }
    }
    Ok(requirements)
}
