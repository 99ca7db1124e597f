//! Closes debnix's package sets over their dependencies and writes `images/debnix/pins.json`.
mod apt;
#[cfg(test)]
mod builds;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, ErrorContext, Result};
use crate::pins::{ArchPins, DEBS_FILE, DebPins};
use crate::progress::Progress;

/// Where the sets are declared.
const SETS_FILE: &str = "images/debnix/sets.toml";

/// The kernel's name of an architecture and Debian's.
const ARCHITECTURES: [(&str, &str); 2] = [("x86_64", "amd64"), ("aarch64", "arm64")];

/// `images/debnix/sets.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sets {
    suite: String,
    without: Vec<String>,
    set: BTreeMap<String, Set>,
    tool: BTreeMap<String, Set>,
}

/// The packages that one attribute starts from and those of its closure that it does without.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    roots: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
}

/// Resolves every set for every architecture with a private apt, from the machine's own mirrors, and writes the pins.
///
/// # Errors
/// The sets cannot be read, apt cannot resolve them, or the pins cannot be written.
pub fn pin(checkout: &Path, progress: &dyn Progress) -> Result<()> {
    let text = std::fs::read_to_string(checkout.join(SETS_FILE)).with_context(|| format!("cannot read {SETS_FILE}"))?;
    let sets: Sets = toml::from_str(&text)
        .map_err(|error| Error::input(error.to_string()))
        .with_context(|| format!("cannot understand {SETS_FILE}"))?;
    let mut pins = DebPins {
        suite: sets.suite.clone(),
        arch: BTreeMap::new(),
    };
    for (arch, debian_arch) in ARCHITECTURES {
        progress.step(&format!(
            "resolving {} sets for {arch}",
            sets.set.len() + sets.tool.len()
        ));
        let apt = apt::PrivateApt::new(&sets.suite, debian_arch)?;
        pins.arch.insert(arch.to_owned(), resolve(&sets, &apt)?);
    }
    let mut json = serde_json::to_string_pretty(&pins)?;
    json.push('\n');
    std::fs::write(checkout.join(DEBS_FILE), json).with_context(|| format!("cannot write {DEBS_FILE}"))?;
    progress.line(&format!("wrote {DEBS_FILE}"));
    Ok(())
}

fn resolve(sets: &Sets, apt: &apt::PrivateApt) -> Result<ArchPins> {
    let mut pins = ArchPins::default();
    let mut names = BTreeSet::new();
    let closures = |declared: &BTreeMap<String, Set>, names: &mut BTreeSet<String>| {
        let mut closed = BTreeMap::new();
        for (attribute, set) in declared {
            let closure: Vec<String> = apt
                .closure(&set.roots)?
                .into_iter()
                .filter(|n| !is_left_out(n, set, sets))
                .collect();
            names.extend(closure.iter().cloned());
            closed.insert(attribute.clone(), closure);
        }
        Ok::<_, Error>(closed)
    };
    pins.set = closures(&sets.set, &mut names)?;
    pins.tool = closures(&sets.tool, &mut names)?;
    pins.debs = apt.files(&names)?;
    Ok(pins)
}

/// A root stays whatever the lists say, unless its own set leaves it out (a metapackage that only pulls others in).
fn is_left_out(name: &str, set: &Set, sets: &Sets) -> bool {
    let matches = |patterns: &[String]| {
        patterns.iter().any(|pattern| match pattern.split_once('*') {
            Some((start, end)) => name.starts_with(start) && name.ends_with(end),
            None => name == pattern,
        })
    };
    matches(&set.without) || (!set.roots.iter().any(|root| root == name) && matches(&sets.without))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_leaves_out_what_either_list_names() {
        let sets: Sets = toml::from_str(
            "suite = 's'\nwithout = ['perl*', 'lib*-perl', 'tar']\n[set]\na = { roots = ['tar', 'x'], without = ['x'] }\n[tool]\n",
        )
        .unwrap();
        let set = &sets.set["a"];
        for (name, left_out) in [
            ("perl-base", true),
            ("libdbi-perl", true),
            ("tar", false),
            ("x", true),
            ("libx", false),
        ] {
            assert_eq!(is_left_out(name, set, &sets), left_out, "{name}");
        }
    }
}
