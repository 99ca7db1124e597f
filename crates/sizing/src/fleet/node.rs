//! One node's volume: a cache of whole environments whose hits cost one lookup and one update.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::Weight;
use crate::groups::Groups;
use crate::number::mix;

/// Seconds for which a task counts as load.
const LOAD_S: f64 = 60.0;

/// Hash tables with small numbers as keys.
#[derive(Clone, Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mix(self.0 ^ u64::from(*byte)));
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = mix(u64::from(value));
    }
}

type Table<T> = HashMap<u32, T, BuildHasherDefault<Mixed>>;

/// One node's volume.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Resident environments, and the number of their last use.
    resident: Table<u64>,
    /// For each group of parts, the number of resident environments that have it.
    users: Table<u32>,
    pub held: Weight,
    /// Uses, oldest first. A use that was followed by another one of the same environment is skipped.
    uses: VecDeque<(u32, u64)>,
    /// Load at `load_at_s`; it decays exponentially with time.
    load: f64,
    load_at_s: f64,
}

/// The result of a request.
pub(super) struct NodeAnswer {
    pub was_there: bool,
    pub fetched_bytes: u64,
}

impl Node {
    /// Uses an environment; the evicted environments are appended to `evicted`.
    pub fn request(
        &mut self,
        groups: &Groups,
        budget: Weight,
        environment: u32,
        number: u64,
        evicted: &mut Vec<u32>,
    ) -> NodeAnswer {
        let was_there = self.resident.insert(environment, number).is_some();
        self.uses.push_back((environment, number));
        let mut fetched_bytes = 0;
        if !was_there {
            for group in groups.groups_of(environment) {
                let users = self.users.entry(*group).or_default();
                *users += 1;
                if *users == 1 {
                    let weight = groups.weights[*group as usize];
                    fetched_bytes += weight.bytes;
                    self.held += weight;
                }
            }
            while !self.held.fits(budget)
                && let Some(oldest) = self.oldest()
            {
                self.remove(groups, oldest);
                evicted.push(oldest);
            }
        }
        if self.uses.len() > 4 * self.resident.len() + 64 {
            let resident = &self.resident;
            self.uses
                .retain(|(environment, number)| resident.get(environment) == Some(number));
        }
        NodeAnswer {
            was_there,
            fetched_bytes,
        }
    }

    /// True if an environment is resident.
    pub fn has(&self, environment: u32) -> bool {
        self.resident.contains_key(&environment)
    }

    fn oldest(&mut self) -> Option<u32> {
        while let Some((environment, number)) = self.uses.pop_front() {
            if self.resident.get(&environment) == Some(&number) {
                return Some(environment);
            }
        }
        None
    }

    fn remove(&mut self, groups: &Groups, environment: u32) {
        self.resident.remove(&environment);
        for group in groups.groups_of(environment) {
            if let Some(users) = self.users.get_mut(group) {
                *users -= 1;
                if *users == 0 {
                    self.users.remove(group);
                    self.held = self.held.saturating_sub(groups.weights[*group as usize]);
                }
            }
        }
    }

    pub fn load(&self, now_s: f64) -> f64 {
        self.load * (-(now_s - self.load_at_s).max(0.0) / LOAD_S).exp()
    }

    pub fn add_load(&mut self, now_s: f64) {
        self.load = self.load(now_s) + 1.0;
        self.load_at_s = now_s;
    }
}
