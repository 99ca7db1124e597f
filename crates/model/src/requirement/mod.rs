//! Python requirements as users may write them: every line that uv accepts, except those that would run code, read a
//! local file, read a variable or contact another host that the operator has not allowed.
//!
//! Requirement text is an attack surface: installers read options, paths, URLs and environment variables out of it.
//! So none of a user's text goes any further. This module refuses such lines before any process starts, and writes
//! accepted requirements again from their parsed parts.
//!
//! The grammar is our own, and pep508_rs only its oracle in tests (`properties.rs`), because a service reads texts of
//! strangers: pep508_rs 0.9 keeps each marker as a decision diagram in a table of the process that is never freed, and
//! the diagram doubles with each pair of variables. A marker of 687 bytes (twelve times `('1' in platform_release or
//! '1' in platform_version)`, joined by `and`) is not printed within 20 seconds, and one of 923 bytes takes 1.7 seconds
//! to read; ours takes microseconds. A diagram's text would also change the request key of each request with a marker.

mod address;
mod decode;
mod evaluate;
mod foreign;
mod grammar;
mod includes;
mod lines;
mod marker;
mod options;
mod reference;
mod refusal;
mod replacement;
mod scan;
mod specifier;

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use serde::{Deserialize, Serialize};

use crate::sources::SourcePolicy;
use crate::task_error::{Faults, TaskErrors};

pub use address::Address;
pub(crate) use address::is_same_index;
pub use decode::decode;
pub use evaluate::MarkerEnvironment;
pub use includes::{Include, IncludeKind, split_includes};
pub use lines::{MAX_LINES, MAX_TEXT_BYTES};
pub use marker::MAX_MARKER_DEPTH;
pub use options::PythonOptions;
pub use reference::Reference;
pub use refusal::Refusal;
pub use replacement::replacement;
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

    /// Whether the marker, if there is one, holds for a task without extras; `None` for a marker that readers of markers
    /// take differently.
    pub fn is_for(&self, environment: &MarkerEnvironment<'_>) -> Option<bool> {
        let Some((_, marker)) = self.0.split_once(" ; ") else {
            return Some(true);
        };
        evaluate::holds(&marker::read(marker).ok()??, environment)
    }

    /// True if a version meets the specifiers.
    pub fn accepts(&self, version: &Version) -> bool {
        let specifiers = self.versions();
        specifiers.is_empty() || VersionSpecifiers::from_str(specifiers).is_ok_and(|all| all.contains(version))
    }

    /// The wheel or the commit that it names; `None` if its package comes from the index.
    pub fn reference(&self) -> Option<Reference> {
        let (_, address) = self.head().split_once(" @ ")?;
        Reference::read(address)
    }

    /// The same requirement for one version of the index: `name[extras]==1.0 ; marker`.
    #[must_use]
    pub fn pinned(&self, version: &str) -> String {
        let head = self.head();
        let subject = head.split(" @ ").next().unwrap_or(head);
        format!("{subject}=={version}{}", &self.0[head.len()..])
    }

    fn head(&self) -> &str {
        self.0.split(" ; ").next().unwrap_or_default()
    }

    /// The version specifiers, without extras and marker; empty if any version will do.
    pub(crate) fn versions(&self) -> &str {
        let head = self.head();
        if head.contains(" @ ") {
            return "";
        }
        let start = head.find(['<', '>', '=', '!', '~']).unwrap_or(head.len());
        &head[start..]
    }
}

impl AsRef<str> for Requirement {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Requirement {
    type Err = Refusal;

    /// Reads one plain requirement, without a comment and without a reference.
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

/// What a requirements file asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequirementsFile {
    /// Its requirements, in its order.
    pub requirements: Vec<Requirement>,
    /// Its hashes and options, in its order.
    pub options: PythonOptions,
}

/// A requirement of a task's text: a plain one, or one with a reference. Also the hash that an address gives.
fn read(text: &str, policy: &SourcePolicy<'_>) -> Result<(Requirement, Option<String>), Refusal> {
    let text = text.trim_matches([' ', '\t']);
    let Some(referring) = reference::split(text) else {
        return Ok((text.parse()?, None));
    };
    scan::check_characters(text)?;
    policy.check_any(text)?;
    let referring = referring?;
    let requirement = grammar::normalise_reference(&referring).map(Requirement)?;
    policy.check_reference(text, &referring.reference)?;
    Ok((requirement, referring.hash))
}

/// Reads a comma-separated list.
///
/// A segment that starts with a comparison continues the one before, so `numpy>=1,<2,pandas[a,b]` holds two
/// requirements. White space, blank lines and extra commas are ignored; a new line separates like a comma.
///
/// # Errors
/// All entries that are not requirements, or name a place that `policy` does not allow.
pub fn parse_list(
    pointer: &'static str,
    text: &str,
    policy: &SourcePolicy<'_>,
) -> Result<Vec<Requirement>, TaskErrors> {
    lines::check_size(text).map_err(|refusal| refusal.at(pointer, None))?;
    let (mut requirements, mut faults) = (Vec::new(), Faults::default());
    for entry in lines::split_list(text) {
        match read(&entry, policy) {
            Ok((_, Some(hash))) => {
                let hint = "write it into requirementsFile, where a hash may stand";
                let refusal = Refusal::new(format!("{} with a hash", Refusal::quote(&hash)), hint);
                faults.push(refusal.at(pointer, None));
            }
            Ok((requirement, None)) => requirements.push(requirement),
            Err(refusal) => faults.push(Refusal::at(refusal, pointer, None)),
        }
    }
    faults.result(requirements)
}

/// Reads the text of a requirements file: a requirement, with its hashes, or an option a line; comments from a `#` on.
///
/// # Errors
/// All lines that a task may not have under `policy`; or what kind of text this is instead.
pub fn parse_file(
    pointer: &'static str,
    text: &str,
    policy: &SourcePolicy<'_>,
) -> Result<RequirementsFile, TaskErrors> {
    lines::check_size(text).map_err(|refusal| refusal.at(pointer, None))?;
    if let Some((line, refusal)) = foreign::whole_text(text) {
        return Err(refusal.at(pointer, Some(line)).into());
    }
    let (mut file, mut faults) = (RequirementsFile::default(), Faults::default());
    for (number, line) in lines::logical_lines(text) {
        let entry = line.trim_matches([' ', '\t']);
        if !entry.is_empty()
            && let Err(refusal) = file.read_entry(entry, policy)
        {
            faults.push(refusal.at(pointer, Some(number)));
        }
    }
    faults.result(file)
}

impl RequirementsFile {
    fn read_entry(&mut self, entry: &str, policy: &SourcePolicy<'_>) -> Result<(), Refusal> {
        if let Some(refusal) = foreign::line(entry) {
            return Err(refusal);
        }
        if entry.starts_with('-') {
            let named = self.options.indexes.len();
            options::read_line(entry, &mut self.options)?;
            return self.options.indexes[named..]
                .iter()
                .try_for_each(|one| policy.check_index(one));
        }
        let (text, hashes) = options::split_hashes(entry);
        let mut hashes = options::read_hashes(hashes)?;
        let (requirement, own) = read(text, policy)?;
        if let Some(own) = own {
            hashes.push(options::normal_hash(&own)?);
        }
        match requirement.reference() {
            _ if hashes.is_empty() => {}
            Some(Reference::Wheel { .. }) => {}
            Some(Reference::Git { .. }) => {
                let hint = "leave the hash out; the commit says which files are meant";
                return Err(Refusal::new("a hash of a commit", hint));
            }
            None => options::check_pinned(requirement.as_str(), requirement.versions())?,
        }
        let of = |hash| (requirement.to_string(), hash);
        self.options.hashes.extend(hashes.into_iter().map(of));
        self.requirements.push(requirement);
        Ok(())
    }
}
