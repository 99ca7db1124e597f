//! Checks that a peer does the same work as our own run: the same versions of Python, its packages and system packages.

use std::collections::{BTreeMap, BTreeSet};

use hybrid_cache_model::outcome::Resolved;
use hybrid_cache_tools::{Result, failed};
use serde::Deserialize;

/// A program that prints what it sees, as one line of JSON.
pub const PROGRAM: &str = "\
import json, os, sys
from importlib import metadata
packages = {}
for one in metadata.distributions():
    # Of several the first one is imported: uv puts its own before those of the interpreter.
    packages.setdefault(one.metadata['Name'] or '', one.version)
print(json.dumps({
    'python': '.'.join(map(str, sys.version_info[:3])),
    'packages': packages,
    'search_path': os.environ.get('PATH', '').split(':'),
}))
";

/// What that program prints.
#[derive(Deserialize)]
struct Seen {
    python: String,
    packages: BTreeMap<String, String>,
    search_path: Vec<String>,
}

/// Compares what the program printed with what our own run resolved.
///
/// # Errors
/// Something differs; the message names all of it.
pub fn check(stdout: &[u8], resolved: &Resolved) -> Result<()> {
    let text = String::from_utf8_lossy(stdout);
    let last = text.lines().last().unwrap_or_default();
    let seen: Seen =
        serde_json::from_str(last).map_err(|error| failed!("the versions in use are not known: {error}"))?;
    let differences = differences(&seen, resolved);
    if differences.is_empty() {
        return Ok(());
    }
    Err(failed!("it does not do the same work: {}", differences.join("; ")))
}

/// What has to be the same.
pub fn versions(resolved: &Resolved) -> (&[String], Option<&String>, &[String]) {
    (&resolved.python, resolved.python_version.as_ref(), &resolved.system)
}

fn differences(seen: &Seen, resolved: &Resolved) -> Vec<String> {
    let mut differences = Vec::new();
    let packages: BTreeMap<String, &String> = seen
        .packages
        .iter()
        .map(|(name, version)| (normal(name), version))
        .collect();
    if let Some(version) = resolved
        .python_version
        .as_ref()
        .filter(|version| **version != seen.python)
    {
        differences.push(format!("Python {} instead of {version}", seen.python));
    }
    for pin in &resolved.python {
        let (name, version) = pin.split_once("==").unwrap_or((pin, ""));
        match packages.get(&normal(name)) {
            Some(other) if *other == version => {}
            Some(other) => differences.push(format!("{name} {other} instead of {version}")),
            None => differences.push(format!("{name} {version} is missing")),
        }
    }
    let programs = seen.search_path.iter().filter_map(|folder| folder.strip_suffix("/bin"));
    let programs: BTreeSet<&str> = programs.filter(|folder| folder.starts_with("/nix/store/")).collect();
    let ours: BTreeSet<&str> = resolved.system.iter().map(String::as_str).collect();
    differences.extend(
        programs
            .difference(&ours)
            .map(|path| format!("{path} is not what our run uses")),
    );
    if programs.is_empty() && !ours.is_empty() {
        differences.push("no system package is on its search path".to_owned());
    }
    differences
}

/// The name that packages are compared by (PEP 503).
fn normal(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved() -> Resolved {
        Resolved {
            python: vec!["python-dateutil==2.9.0".to_owned(), "six==1.17.0".to_owned()],
            python_version: Some("3.11.7".to_owned()),
            system: vec!["/nix/store/a-gcc".to_owned(), "/nix/store/b-libc".to_owned()],
            ..Resolved::default()
        }
    }

    fn printed(python: &str, six: &str, path: &str) -> Vec<u8> {
        let line = serde_json::json!({
            "python": python,
            "packages": {"Python.DateUtil": "2.9.0", "six": six, "pip": "25.0"},
            "search_path": path.split(':').collect::<Vec<_>>(),
        });
        format!("a line before\n{line}\n").into_bytes()
    }

    #[test]
    fn the_same_versions_are_the_same_work_whatever_else_is_there() {
        check(
            &printed("3.11.7", "1.17.0", "/nix/store/a-gcc/bin:/usr/bin"),
            &resolved(),
        )
        .unwrap();
    }

    #[test]
    fn every_difference_is_named() {
        let reported = check(&printed("3.12.1", "1.16.0", "/nix/store/x-gcc/bin"), &resolved())
            .unwrap_err()
            .to_string();
        for difference in [
            "Python 3.12.1 instead of 3.11.7",
            "six 1.16.0 instead of 1.17.0",
            "/nix/store/x-gcc is not what our run uses",
        ] {
            assert!(reported.contains(difference), "{reported}");
        }
        let reported = check(&printed("3.11.7", "1.17.0", "/usr/bin"), &resolved())
            .unwrap_err()
            .to_string();
        assert!(
            reported.contains("no system package is on its search path"),
            "{reported}"
        );
        let reported = check(b"nonsense\n", &resolved()).unwrap_err().to_string();
        assert!(reported.contains("the versions in use are not known"), "{reported}");
    }
}
