//! Finds packages that import `pkg_resources` where nothing brings it.
//!
//! The module was part of setuptools before version 82, and `python -m venv` put setuptools into each environment until Python
//! 3.12. So packages of these years import it without a word in their metadata, or ask for any setuptools. An environment with such
//! a package gets [`PIN`], and only such a one.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use hybrid_cache_model::{Failure, FailureKind, Requirement, Task};

use super::record::{Distribution, Entry, Installed};

/// The limit that setuptools' own warning names.
pub const PIN: &str = "setuptools<81";
/// The module.
const MODULE: &str = "pkg_resources";
/// Longest source that is read; longer ones are data.
const MAX_SOURCE_BYTES: u64 = 1 << 20;
/// Folders whose modules nobody imports to use a package.
const TESTS: [&str; 3] = ["test", "tests", "testing"];

/// True if setuptools may be added to what a task asks for: it says nothing about setuptools itself, and does not demand a
/// hash of everything.
pub fn may_be_added(task: &Task) -> bool {
    let mut named = task.requirements.iter().chain(&task.constraints);
    !task.options.require_hashes && named.all(|one| one.name() != "setuptools")
}

/// [`PIN`] as a requirement.
///
/// # Errors
/// None.
pub fn requirement() -> Result<Requirement, Failure> {
    let read = PIN.parse::<Requirement>();
    read.map_err(|_| Failure::new(FailureKind::Internal, format!("{PIN} is no requirement")))
}

/// True if a text of a failed build says that the module is missing.
pub fn is_missing(said: &str) -> bool {
    said.contains("No module named 'pkg_resources'")
}

/// A package whose modules import `pkg_resources`, and the first such module, if nothing in the environment brings it.
///
/// Only an import in the first column counts: behind `try:` or within a function a package does without.
pub fn lacking<'a>(installed: &'a Installed) -> Option<(&'a Distribution, &'a Entry)> {
    let own = [
        format!("{}/{MODULE}/__init__.py", installed.site),
        format!("{}/{MODULE}.py", installed.site),
    ];
    let all = || {
        let of = |one: &'a Distribution| std::iter::repeat(one).zip(&one.entries);
        installed.distributions.iter().flat_map(of)
    };
    if all().any(|(_, entry)| own.contains(&entry.path)) {
        return None;
    }
    all().find(|(_, entry)| is_source(&entry.listed) && imports(&installed.venv.join(&entry.path)))
}

/// True for a module in site-packages that may be imported to use a package.
fn is_source(listed: &str) -> bool {
    let mut folders = listed.split('/');
    let name = folders.next_back().unwrap_or_default();
    name.ends_with(".py") && name != "setup.py" && folders.all(|folder| folder != ".." && !TESTS.contains(&folder))
}

fn imports(path: &Path) -> bool {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_SOURCE_BYTES).read_to_end(&mut text));
    // Another encoding has the same letters.
    read.is_ok() && has_import(&String::from_utf8_lossy(&text))
}

fn has_import(source: &str) -> bool {
    // Almost no file gets beyond this.
    source.contains(MODULE) && source.lines().any(is_import)
}

fn is_import(line: &str) -> bool {
    let is_it = |path: &str| path.trim().split(['.', ' ', '\t', ';', '#']).next() == Some(MODULE);
    if let Some(modules) = line.strip_prefix("import ") {
        return modules.split(',').any(is_it);
    }
    if let Some(module) = line.strip_prefix("from ") {
        return is_it(module);
    }
    let called = line.strip_prefix("__import__(").map(str::trim_start);
    called.is_some_and(|name| name.trim_start_matches(['\'', '"']).starts_with(MODULE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_import_that_always_runs_counts() {
        for source in [
            "import pkg_resources",
            "import os, pkg_resources as p\n",
            "x = 1\nfrom pkg_resources import parse_version",
            "from pkg_resources.extern import packaging",
            "import pkg_resources; x = 1",
            "import pkg_resources  # why",
            "__import__('pkg_resources').declare_namespace(__name__)",
            "\r\n__import__(\"pkg_resources\").x",
        ] {
            assert!(has_import(source), "{source}");
        }
        for source in [
            "try:\n    import pkg_resources\nexcept ImportError:\n    pass",
            "import pkg_resources_x",
            "import my.pkg_resources",
            "from . import pkg_resources",
            "from pip._vendor import pkg_resources",
            "# import pkg_resources",
            "NAME = 'pkg_resources'",
            "import importlib",
        ] {
            assert!(!has_import(source), "{source}");
        }
    }

    #[test]
    fn modules_of_tests_and_scripts_do_not_count() {
        for (listed, counts) in [
            ("a/b.py", true),
            ("a.py", true),
            ("a/tests/b.py", false),
            ("test/b.py", false),
            ("a/setup.py", false),
            ("../../../bin/a.py", false),
            ("a/b.txt", false),
            ("a/testing_tools.py", true),
        ] {
            assert_eq!(is_source(listed), counts, "{listed}");
        }
    }
}
