//! Finds the hashes of the files that an environment was installed from, for a lock that a person can keep.
//!
//! uv records no hash of what it installs. Its resolution of the same versions names every file that fits, with the hash
//! that the index states, and needs no network: uv has kept the index's answers. The tags in a distribution's `WHEEL` say
//! which of these files it came from. A later installation from the lock verifies the hash. A package that was built has the
//! hash of its source distribution, which is what the index offers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hybrid_cache_model::outcome::PackageHashes;
use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{Failure, FailureKind, Task};
use serde::Deserialize;

use super::record::Installed;
use super::uv::{BuiltWheel, Uv};
use crate::store::IoContext;

/// The file that lists a distribution's tags.
const WHEEL: &str = "WHEEL";
/// Algorithms that a requirements file may name, best first.
const ALGORITHMS: [&str; 5] = ["sha256", "sha512", "sha384", "blake2b", "md5"];

/// The distributions whose hashes are wanted.
pub struct Unhashed(Vec<Package>);

struct Package {
    name: String,
    pin: String,
    /// Its `WHEEL`.
    wheel: PathBuf,
}

impl Unhashed {
    /// Everything that is installed, except for what was built: its hashes are known, and come as the second part.
    pub fn all(installed: &Installed, built: &[BuiltWheel]) -> (Unhashed, PackageHashes) {
        let site = installed.venv.join(&installed.site);
        let package = |one: &super::record::Distribution| Package {
            name: one.name.clone(),
            pin: one.pin(),
            wheel: site.join(&one.folder).join(WHEEL),
        };
        let (mut unhashed, mut known) = (Vec::new(), PackageHashes::new());
        for one in &installed.distributions {
            match built.iter().find(|wheel| wheel.name == one.name) {
                // A commit has no hash, and needs none.
                Some(wheel) if wheel.source.is_empty() => {}
                Some(wheel) => drop(known.insert(one.pin(), vec![wheel.source.clone()])),
                None => unhashed.push(package(one)),
            }
        }
        (Unhashed(unhashed), known)
    }

    /// The hashes by pin. A package whose hash the index does not state is left out. `folder` is for files of this step.
    ///
    /// # Errors
    /// uv failed, or its answer cannot be read.
    pub fn find(&self, uv: &Uv<'_>, task: &Task, folder: &Path, by: &Interpreter) -> Result<PackageHashes, Failure> {
        if self.0.is_empty() {
            return Ok(PackageHashes::new());
        }
        let (pins, listing) = (folder.join("pins.txt"), folder.join("pylock.toml"));
        let text: String = self.0.iter().map(|one| format!("{}\n", one.pin)).collect();
        std::fs::write(&pins, text).io_context("write", &pins)?;
        uv.list_files(&pins, &listing, task, by)?;
        let text = std::fs::read_to_string(&listing).io_context("read", &listing)?;
        let read: Listing = toml::from_str(&text)
            .map_err(|error| Failure::new(FailureKind::Tool, format!("uv's list of files cannot be read: {error}")))?;
        let mut hashes = PackageHashes::new();
        for package in &self.0 {
            let listed = read.packages.iter().find(|listed| listed.name == package.name);
            let found = listed
                .map(|listed| listed.hashes(&tags(&package.wheel)))
                .unwrap_or_default();
            if !found.is_empty() {
                hashes.insert(package.pin.clone(), found);
            }
        }
        Ok(hashes)
    }
}

/// The tags of a `WHEEL` file; none if it cannot be read.
fn tags(wheel: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(wheel).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix("Tag:"))
        .map(|tag| tag.trim().to_owned())
        .collect()
}

/// The part of a `pylock.toml` (PEP 751) that is read here.
#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    packages: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    wheels: Vec<Wheel>,
}

#[derive(Deserialize)]
struct Wheel {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

impl Listed {
    /// The hashes of the files that a distribution with these tags may come from: those with exactly these tags, else
    /// those with one of them, else all. Each file needs a hash, or it could not be installed from a lock.
    fn hashes(&self, tags: &BTreeSet<String>) -> Vec<String> {
        let with = |fits: &dyn Fn(&BTreeSet<String>) -> bool| {
            self.wheels
                .iter()
                .filter(|wheel| fits(&wheel.tags()))
                .collect::<Vec<_>>()
        };
        let candidates = [
            with(&|own| own == tags),
            with(&|own| !own.is_disjoint(tags)),
            with(&|_| true),
        ];
        let chosen = candidates
            .into_iter()
            .find(|wheels| !wheels.is_empty())
            .unwrap_or_default();
        let hashes: Option<BTreeSet<String>> = chosen.into_iter().map(Wheel::hash).collect();
        hashes.unwrap_or_default().into_iter().collect()
    }
}

impl Wheel {
    /// The tags in its file name, `name-1.0-cp311.py3-none-any.whl`, one by one.
    fn tags(&self) -> BTreeSet<String> {
        let place = self.name.as_ref().or(self.url.as_ref()).or(self.path.as_ref());
        let place = place.map(String::as_str).unwrap_or_default();
        let place = place.split(['?', '#']).next().unwrap_or_default();
        let mut parts = place.strip_suffix(".whl").unwrap_or(place).rsplit('-');
        let mut part = || parts.next().unwrap_or_default().split('.').collect::<Vec<_>>();
        let (platforms, abis, pythons) = (part(), part(), part());
        let mut tags = BTreeSet::new();
        for python in &pythons {
            for abi in &abis {
                tags.extend(platforms.iter().map(|platform| format!("{python}-{abi}-{platform}")));
            }
        }
        tags
    }

    fn hash(&self) -> Option<String> {
        let mut named = ALGORITHMS
            .iter()
            .filter_map(|name| Some((name, self.hashes.get(*name)?)));
        let (name, digest) = named.find(|(_, digest)| digest.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        Some(format!("{name}:{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(files: &[&str]) -> Listed {
        let wheel = |(index, file): (usize, &&str)| Wheel {
            name: None,
            url: Some(format!("https://host.test/x/{file}")),
            path: None,
            hashes: BTreeMap::from([("sha256".to_owned(), format!("{index}"))]),
        };
        Listed {
            name: "a".to_owned(),
            wheels: files.iter().enumerate().map(wheel).collect(),
        }
    }

    fn chosen(files: &[&str], tags: &[&str]) -> Vec<String> {
        listed(files).hashes(&tags.iter().map(|tag| (*tag).to_owned()).collect())
    }

    #[test]
    fn the_file_with_the_distributions_tags_is_chosen() {
        let files = [
            "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp37-abi3-manylinux_2_17_x86_64.whl",
            "a-1-py2.py3-none-any.whl#sha256=0",
        ];
        let both = ["cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux2014_x86_64"];
        assert_eq!(chosen(&files, &both), ["sha256:0"]);
        assert_eq!(chosen(&files, &both[..1]), ["sha256:0"]);
        assert_eq!(chosen(&files, &["py2-none-any", "py3-none-any"]), ["sha256:2"]);
        assert_eq!(chosen(&files, &["cp37-abi3-manylinux_2_17_x86_64"]), ["sha256:1"]);
        assert_eq!(chosen(&files, &[]), ["sha256:0", "sha256:1", "sha256:2"]);
        assert!(chosen(&[], &both).is_empty());
    }

    #[test]
    fn a_file_without_a_hash_gives_none() {
        let mut listed = listed(&["a-1-py3-none-any.whl", "a-1-py3-none-linux_x86_64.whl"]);
        listed.wheels[1].hashes.clear();
        assert!(listed.hashes(&BTreeSet::new()).is_empty());
        assert_eq!(
            listed.hashes(&BTreeSet::from(["py3-none-any".to_owned()])),
            ["sha256:0"]
        );
        let text = "lock-version = \"1.0\"\n[[packages]]\nname = \"a\"\nversion = \"1\"\nwheels = [{ url = \"x/a-1-py3-none-any.whl\", \
                    upload-time = 2026-10-22T00:02:38Z, size = 1, hashes = { md5 = \"0f\", sha256 = \"aa\" } }]\n";
        let read: Listing = toml::from_str(text).unwrap();
        assert_eq!(read.packages[0].hashes(&BTreeSet::new()), ["sha256:aa"]);
    }
}
