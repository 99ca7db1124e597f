//! What the resolving sandbox proposes to build. Code of packages has run there, so every field is a stranger's text.

use hybrid_cache_model::{Failure, FailureKind, Requirement, Task};
use serde::Deserialize;

/// Most packages of one task that are built.
const MAX_PACKAGES: usize = 64;
/// Most build requirements of one package that are pinned.
const MAX_REQUIREMENTS: usize = 64;

/// One package that must be built.
#[derive(Clone, Debug, Deserialize)]
pub struct Proposed {
    /// Its name in normal form.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The hash of its source distribution, hexadecimal.
    pub sha256: String,
    /// Its build requirements, as it writes them.
    #[serde(default)]
    requires: Vec<String>,
    /// True if it was resolved with an older setuptools, which this or another package needs to be built.
    #[serde(default)]
    pub older: bool,
}

/// The packages, if each is a name, a version and a hash.
///
/// # Errors
/// One is not, or there are too many.
pub fn checked(packages: Vec<Proposed>) -> Result<Vec<Proposed>, Failure> {
    if packages.len() > MAX_PACKAGES {
        let message = format!(
            "{} packages have no wheel and would have to be built; at most {MAX_PACKAGES} are",
            packages.len()
        );
        return Err(Failure::new(FailureKind::NoWheel, message).hint("ask for versions that have wheels"));
    }
    match packages.iter().find(|package| !package.is_good()) {
        None => Ok(packages),
        Some(package) => {
            let message = format!(
                "the code of a package made uv name {:.200?} as a package to build",
                package.name
            );
            Err(Failure::new(FailureKind::NoWheel, message))
        }
    }
}

/// The version in normal form, if `file` is the name of a wheel of the package `name`.
pub fn version_of(file: &str, name: &str) -> Option<String> {
    let (own, rest) = file.strip_suffix(".whl")?.split_once('-')?;
    let version = rest.split('-').next().unwrap_or_default();
    let pin = format!("{own}=={version}").parse::<Requirement>().ok()?;
    let version = pin.as_str().strip_prefix(name)?.strip_prefix("==")?;
    Some(version.to_owned())
}

impl Proposed {
    fn is_good(&self) -> bool {
        let pin = format!("{}=={}", self.name, self.version);
        let is_hash = self.sha256.len() == 64
            && self
                .sha256
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        // The normal form ends at a marker or a second specifier, so equal texts leave room for neither.
        is_hash
            && pin
                .parse::<Requirement>()
                .is_ok_and(|read| read.as_str() == pin && read.name() == self.name)
    }

    /// The build requirements that are plain requirements, sorted.
    pub fn build_requirements(&self) -> Vec<String> {
        let read = self.requires.iter().take(MAX_REQUIREMENTS);
        let read = read.filter_map(|text| text.parse::<Requirement>().ok());
        let mut list: Vec<String> = read.map(String::from).collect();
        list.sort();
        list.dedup();
        list
    }

    /// True if `file` is the name of a wheel of this package and version.
    pub fn is_named(&self, file: &str) -> bool {
        version_of(file, &self.name).is_some_and(|version| version == self.version)
    }

    /// Refuses a source distribution with another hash than the task demands.
    ///
    /// # Errors
    /// The hash is not among those of the task.
    pub fn check_hash(&self, task: &Task) -> Result<(), Failure> {
        let hash = format!("sha256:{}", self.sha256);
        let own = task.requirements.iter().filter(|one| one.name() == self.name);
        let mut hashes = own.flat_map(|one| task.options.hashes_of(one.as_str())).peekable();
        if hashes.peek().is_none() && !task.options.require_hashes || hashes.any(|known| known == hash) {
            return Ok(());
        }
        let message = format!(
            "{}=={} has no wheel, and its source distribution does not have a hash that the requirements demand: {hash}",
            self.name, self.version
        );
        let hint = "give the sha256 of the source distribution, from a source that you trust";
        Err(Failure::new(FailureKind::Unsatisfiable, message).hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(name: &str, version: &str) -> Proposed {
        Proposed {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: "0".repeat(64),
            requires: ["setuptools", "-e ./x", "a @ file:///x", "wheel>=1"]
                .map(str::to_owned)
                .into(),
            older: false,
        }
    }

    #[test]
    fn only_a_name_and_a_version_can_be_proposed() {
        for (name, version, good) in [
            ("docopt", "0.6.2", true),
            ("zope-interface", "5.0rc1", true),
            ("Docopt", "0.6.2", false),
            ("docopt", "0.6.2 ; python_version>'3'", false),
            ("docopt", "0.6.2,>=0", false),
            ("docopt[x]", "1.0", false),
            ("--index-url", "1.0", false),
            ("../x", "1.0", false),
            ("x", "1.0\n--index-url=y", false),
            ("x", "*", false),
        ] {
            assert_eq!(checked(vec![proposed(name, version)]).is_ok(), good, "{name} {version}");
        }
        assert!(checked(vec![proposed("a", "1"); MAX_PACKAGES + 1]).is_err());
        assert_eq!(proposed("a", "1").build_requirements(), ["setuptools", "wheel>=1"]);
    }

    #[test]
    fn a_wheel_has_the_name_and_version_that_it_was_built_for() {
        let package = proposed("zope-interface", "5.0");
        for name in [
            "zope.interface-5.0-py3-none-any.whl",
            "zope_interface-5.0-cp311-cp311-linux_x86_64.whl",
        ] {
            assert!(package.is_named(name), "{name}");
        }
        for name in [
            "zope.interface-5.1-py3-none-any.whl",
            "six-5.0-py3-none-any.whl",
            "zope-interface-5.0.whl",
            "x",
        ] {
            assert!(!package.is_named(name), "{name}");
        }
    }
}
