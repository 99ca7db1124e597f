//! The catalog of a trace: every environment and every part, once.

use std::collections::HashMap;

use super::{Definition, PartLine, Volume};
use crate::Weight;
use crate::number::narrow;

/// The environments and parts of both volumes.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Age in seconds from which a request is resolved again; `None` if requests do not age.
    pub max_age_s: Option<u64>,
    volumes: [VolumeCatalog; 2],
}

impl Catalog {
    /// The catalog of one volume.
    pub fn volume(&self, volume: Volume) -> &VolumeCatalog {
        &self.volumes[volume.index()]
    }

    /// The catalog of one volume, to add to it.
    pub fn volume_mut(&mut self, volume: Volume) -> &mut VolumeCatalog {
        &mut self.volumes[volume.index()]
    }
}

/// The environments and parts of one volume.
#[derive(Clone, Debug, Default)]
pub struct VolumeCatalog {
    /// Usage that counts against the budget and belongs to no environment.
    pub rest: Weight,
    parts: Vec<Weight>,
    part_ids: HashMap<String, u32>,
    environments: Vec<Environment>,
    keys: HashMap<String, u32>,
}

/// One environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment {
    /// Key of the environment.
    pub key: String,
    /// A name that people recognise; may be empty.
    pub label: String,
    /// Usage outside the parts.
    pub own: Weight,
    /// Indices of the parts, each once.
    pub parts: Vec<u32>,
}

impl Environment {
    /// The label, or the beginning of the key if there is none.
    pub fn shown(&self) -> &str {
        if self.label.is_empty() {
            self.key.get(..12).unwrap_or(&self.key)
        } else {
            &self.label
        }
    }
}

impl VolumeCatalog {
    /// Usage of each part.
    pub fn parts(&self) -> &[Weight] {
        &self.parts
    }

    /// The environments.
    pub fn environments(&self) -> &[Environment] {
        &self.environments
    }

    /// Usage of an environment with all its parts.
    pub fn weight(&self, environment: u32) -> Weight {
        let Some(environment) = self.environments.get(environment as usize) else {
            return Weight::default();
        };
        let parts = environment.parts.iter().map(|part| self.parts[*part as usize]);
        parts.sum::<Weight>() + environment.own
    }

    /// The most bytes and the most inodes of any environment, each taken separately.
    pub fn largest(&self) -> Weight {
        let all = 0..narrow(self.environments.len());
        all.map(|environment| self.weight(environment))
            .fold(Weight::default(), Weight::max)
    }

    /// Usage of all environments together: a volume of this size never evicts.
    pub fn union(&self) -> Weight {
        let parts: Weight = self.parts.iter().copied().sum();
        parts + self.environments.iter().map(|environment| environment.own).sum()
    }

    /// The environment with this key.
    pub fn find(&self, key: &str) -> Option<u32> {
        self.keys.get(key).copied()
    }

    /// The part with this id.
    pub fn find_part(&self, id: &str) -> Option<u32> {
        self.part_ids.get(id).copied()
    }

    /// Finds a part, or adds it.
    pub fn part(&mut self, id: &str, weight: Weight) -> u32 {
        if let Some(known) = self.part_ids.get(id) {
            return *known;
        }
        let number = narrow(self.parts.len());
        self.parts.push(weight);
        self.part_ids.insert(id.to_owned(), number);
        number
    }

    /// Finds an environment, or adds it. An environment that was built again from other parts is a new environment from then on.
    pub fn environment(&mut self, environment: Environment) -> u32 {
        if let Some(known) = self.find(&environment.key)
            && self.environments[known as usize].parts == environment.parts
        {
            return known;
        }
        let number = narrow(self.environments.len());
        self.keys.insert(environment.key.clone(), number);
        self.environments.push(environment);
        number
    }

    /// Adds an environment as a line defines it. The second value counts the parts without a size in any line.
    pub fn define(&mut self, key: &str, definition: &Definition) -> (u32, u32) {
        let mut unknown = 0;
        let mut parts = Vec::with_capacity(definition.parts.len());
        for part in &definition.parts {
            let weight = match part {
                PartLine::New(_, bytes, inodes) => Weight::new(*bytes, *inodes),
                PartLine::Known(id) => {
                    unknown += u32::from(self.find_part(id).is_none());
                    Weight::default()
                }
            };
            parts.push(self.part(part.id(), weight));
        }
        parts.sort_unstable();
        parts.dedup();
        let number = self.environment(Environment {
            key: key.to_owned(),
            label: definition.label.clone(),
            own: definition.own,
            parts,
        });
        (number, unknown)
    }
}
