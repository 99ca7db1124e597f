//! Real packages and their measured sizes; `data/measure.py` and `data/README.md` show how they were measured.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::number::{Random, float, index, mix, whole};
use crate::{Volume, Weight};

const PACKAGES: &str = include_str!("../../data/packages.json");
/// Usage of an environment in addition to its packages: folders, links to the interpreter, its own records.
const EMPTY_ENVIRONMENT: Weight = Weight::new(57_344, 24);
/// Shortest and longest time in days between two versions of a package.
const RELEASE_DAYS: (f64, f64) = (20.0, 120.0);
/// Share of programs that use system packages too, and of those the share that uses nothing else.
const WITH_SYSTEM: f64 = 0.3;
const SYSTEM_ALONE: f64 = 0.15;
/// Largest number of packages that a program names; the smallest is one.
const MOST_ROOTS: usize = 5;

/// A program's environment on one volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyntheticEnvironment {
    /// Key of the environment, without the tenant.
    pub key: String,
    /// Name for a person.
    pub label: String,
    /// Usage outside the parts.
    pub own: Weight,
    /// Parts of the environment.
    pub parts: Vec<(String, Weight)>,
}

/// Measured packages.
#[derive(Clone, Debug, Deserialize)]
pub struct Packages {
    python: Python,
    system: System,
}

#[derive(Clone, Debug, Deserialize)]
struct Python {
    distributions: BTreeMap<String, Distribution>,
    roots: BTreeMap<String, Vec<String>>,
    /// Names of roots, most popular first.
    popular: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Distribution {
    wheel: Weight,
    bytecode: Weight,
    own: Weight,
}

#[derive(Clone, Debug, Deserialize)]
struct System {
    paths: BTreeMap<String, Weight>,
    sets: Vec<(String, Vec<String>)>,
}

impl Packages {
    /// The packages that were measured.
    pub fn measured() -> Packages {
        serde_json::from_str(PACKAGES)
            .unwrap_or_else(|error| unreachable!("data/packages.json is of this crate: {error}"))
    }

    /// Names of the Python packages that programs name.
    pub fn roots(&self) -> &[String] {
        &self.python.popular
    }

    fn python(&self, asked: u64, day: f64) -> SyntheticEnvironment {
        let roots = self.picked(asked);
        let mut versions = mix(asked ^ 0x7079);
        let mut made = SyntheticEnvironment {
            label: roots.join(" "),
            own: EMPTY_ENVIRONMENT,
            ..SyntheticEnvironment::default()
        };
        let mut names: Vec<&String> = roots
            .iter()
            .filter_map(|root| self.python.roots.get(*root))
            .flatten()
            .collect();
        names.sort();
        names.dedup();
        for name in names {
            let Some(distribution) = self.python.distributions.get(name) else {
                continue;
            };
            let version = version(name, day);
            versions = mix(versions ^ version.wrapping_add(1));
            made.own += distribution.own;
            made.parts
                .push((format!("{name}-{version}"), resized(distribution.wheel, name, version)));
            made.parts.push((
                format!("{name}-{version}.pyc"),
                resized(distribution.bytecode, name, version),
            ));
        }
        made.key = format!("{versions:016x}");
        made
    }

    /// The packages of a program: popular ones more often, none twice.
    fn picked(&self, asked: u64) -> Vec<&str> {
        let mut random = Random::seeded(asked);
        let count = 1 + random.below(MOST_ROOTS);
        let popular = &self.python.popular;
        let mut roots: Vec<&str> = (0..count)
            .map(|_| {
                let share = random.unit();
                let at = index(whole((share * share * float(popular.len() as u64)).floor()));
                popular[at.min(popular.len() - 1)].as_str()
            })
            .collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    fn system(&self, asked: u64) -> SyntheticEnvironment {
        let sets = &self.system.sets;
        let (label, paths) = &sets[index(asked) % sets.len()];
        let weight = |path: &String| self.system.paths.get(path).copied().unwrap_or_default();
        SyntheticEnvironment {
            key: label.clone(),
            label: label.clone(),
            own: Weight::default(),
            parts: paths.iter().map(|path| (path.clone(), weight(path))).collect(),
        }
    }

    /// A new program: a number for each volume that it uses, from which its environment is resolved.
    pub fn program(&self, random: &mut Random) -> [Option<u64>; 2] {
        let with_system = random.unit() < WITH_SYSTEM;
        let alone = with_system && random.unit() < SYSTEM_ALONE;
        // The sets are ordered by popularity too.
        let share = random.unit();
        let set = whole((share * share * float(self.system.sets.len() as u64)).floor());
        let python = random.next();
        [(!alone).then_some(python), with_system.then_some(set)]
    }

    /// The environment of such a number on a given day.
    pub fn resolve(&self, volume: Volume, asked: u64, day: f64) -> SyntheticEnvironment {
        match volume {
            Volume::Python => self.python(asked, day),
            Volume::System => self.system(asked),
        }
    }
}

/// The version of a package on a day: each package has its own release interval.
fn version(name: &str, day: f64) -> u64 {
    let mut random = Random::seeded(name.bytes().fold(0, |seed, byte| mix(seed ^ u64::from(byte))));
    let (shortest, longest) = RELEASE_DAYS;
    let every = shortest + (longest - shortest) * random.unit();
    whole(((day + every * random.unit()) / every).floor())
}

/// The size of another version: up to four percent larger or smaller, in whole blocks.
fn resized(weight: Weight, name: &str, version: u64) -> Weight {
    let mut random = Random::seeded(name.bytes().fold(version, |seed, byte| mix(seed ^ u64::from(byte))));
    let factor = if version == 0 { 1.0 } else { 0.96 + 0.08 * random.unit() };
    Weight {
        bytes: whole(float(weight.bytes) * factor / 4096.0) * 4096,
        inodes: weight.inodes,
    }
}
