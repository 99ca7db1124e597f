//! System packages by the names people use, mapped to the attributes of a package source.
//!
//! A name goes into a Nix expression, a flake reference and a command line. So a package is exactly one plain attribute
//! at the top of a package set: no dots (that reach into other sets or into a package's own fields), no outputs, no
//! paths, nothing a shell or Nix reads as more than a name.

mod alias;
mod suggest;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::requirement::Refusal;
use crate::task_error::{Faults, MAX_LIST_BYTES, TaskErrors};

pub use suggest::suggest;

/// Longest accepted name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

const EXAMPLE: &str = "name tools as nixpkgs does, separated by commas: `gcc,gnumake,git`";

/// Words of the Nix language: what follows one in an expression is not a selection any more.
const NIX_WORDS: [&str; 10] = [
    "assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with",
];

/// One system package: an attribute name such as `gnumake`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SystemPackage(String);

impl SystemPackage {
    /// The attribute name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SystemPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SystemPackage {
    type Err = Refusal;

    /// Takes an attribute name as it stands, without looking for aliases.
    fn from_str(text: &str) -> Result<SystemPackage, Refusal> {
        check_attribute(text)?;
        Ok(SystemPackage(text.to_owned()))
    }
}

impl TryFrom<String> for SystemPackage {
    type Error = Refusal;

    fn try_from(text: String) -> Result<SystemPackage, Refusal> {
        text.parse()
    }
}

impl From<SystemPackage> for String {
    fn from(package: SystemPackage) -> String {
        package.0
    }
}

/// Reads a comma-separated list of friendly names; a new line separates as a comma does.
///
/// `make` becomes `gnumake`, `build-essential` becomes three packages; `nixpkgs.`, `nixpkgs#` and `pkgs.` in front are
/// dropped.
///
/// # Errors
/// All entries that cannot be a package's name.
pub fn parse_list(pointer: &'static str, text: &str) -> Result<Vec<SystemPackage>, TaskErrors> {
    let refused = |refusal: Refusal| refusal.at(pointer, None);
    if text.len() > MAX_LIST_BYTES {
        let message = format!(
            "the list has {} bytes, at most {MAX_LIST_BYTES} are accepted",
            text.len()
        );
        return Err(refused(Refusal::new(message, EXAMPLE)).into());
    }
    let (mut packages, mut faults) = (Vec::new(), Faults::default());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for entry in text
        .split([',', '\n'])
        .map(|entry| entry.trim_matches([' ', '\t', '\r']))
    {
        if !entry.is_empty() {
            match resolve(entry) {
                Ok(found) => packages.extend(found),
                Err(refusal) => faults.push(refused(refusal)),
            }
        }
    }
    faults.result(packages)
}

/// The packages that one friendly name stands for.
///
/// # Errors
/// Where the name cannot be a package's.
pub fn resolve(name: &str) -> Result<Vec<SystemPackage>, Refusal> {
    check_characters(name)?;
    let bare = ["nixpkgs#", "nixpkgs.", "pkgs."]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    if bare.is_empty() {
        return Err(Refusal::new(
            format!("no package after {}", Refusal::quote(name)),
            EXAMPLE,
        ));
    }
    match alias::targets(bare) {
        Some(targets) => targets.iter().map(|target| target.parse()).collect(),
        None => bare.parse().map(|package| vec![package]),
    }
}

fn check_characters(name: &str) -> Result<(), Refusal> {
    let shown = Refusal::quote(name);
    if name.len() > MAX_NAME_BYTES {
        let message = format!("{shown} has {} bytes, a name has at most {MAX_NAME_BYTES}", name.len());
        return Err(Refusal::new(message, EXAMPLE));
    }
    if name.starts_with('-') {
        return Err(Refusal::new(format!("{shown} is an option"), EXAMPLE));
    }
    if name.contains([' ', '\t']) {
        return Err(Refusal::new(format!("white space within {shown}"), EXAMPLE));
    }
    if name.contains(['=', '<', '>', '@']) {
        let hint = "the package source decides versions; some have a name of their own, such as `gcc13` or `nodejs_20`";
        return Err(Refusal::new(format!("a version in {shown}"), hint));
    }
    if name.contains("..") || name.contains(['/', '\\', ':', '~']) {
        return Err(Refusal::new(format!("a path in {shown}"), EXAMPLE));
    }
    Ok(())
}

fn check_attribute(name: &str) -> Result<(), Refusal> {
    check_characters(name)?;
    let shown = Refusal::quote(name);
    if let Some((set, package)) = name.split_once('.') {
        let python = set.starts_with("python") && set.to_ascii_lowercase().ends_with("packages");
        let hint = match python {
            true => format!(
                "Python packages belong into `dependencies`: {}",
                Refusal::quote(package)
            ),
            false => EXAMPLE.to_owned(),
        };
        return Err(Refusal::new(format!("{shown} reaches into another package set"), hint));
    }
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !plain || !name.starts_with(|c: char| c.is_ascii_alphabetic()) || NIX_WORDS.contains(&name) {
        return Err(Refusal::new(format!("{shown} cannot be a package's name"), EXAMPLE));
    }
    Ok(())
}
