//! Simulates a plain cache of one size: strict least-recently-used eviction of whole environments, step by step.
//!
//! The distances of [`crate::stack`] are checked against this cache. Its time per request grows with the number of resident
//! environments, and it answers for one budget only.

use std::collections::VecDeque;

use crate::Weight;
use crate::trace::VolumeCatalog;

/// A volume of a given size.
#[derive(Clone, Debug)]
pub struct Cache<'a> {
    catalog: &'a VolumeCatalog,
    budget: Weight,
    /// Resident environments, most recently used first.
    resident: VecDeque<u32>,
    users: Vec<u32>,
    held: Weight,
    /// Environments that were evicted so far.
    pub evictions: u64,
}

impl<'a> Cache<'a> {
    /// Creates an empty volume that may hold `budget`.
    pub fn new(catalog: &'a VolumeCatalog, budget: Weight) -> Cache<'a> {
        Cache {
            catalog,
            budget,
            resident: VecDeque::new(),
            users: vec![0; catalog.parts().len()],
            held: Weight::default(),
            evictions: 0,
        }
    }

    /// Usage of all resident environments.
    pub fn held(&self) -> Weight {
        self.held
    }

    /// Requests an environment; true if it was resident. What is missing is added, and then the least recently used environments
    /// are evicted until the rest fits. An environment that does not fit by itself is evicted as well.
    pub fn request(&mut self, environment: u32) -> bool {
        let place = self.resident.iter().position(|resident| *resident == environment);
        if let Some(place) = place {
            self.resident.remove(place);
        } else {
            self.add(environment);
        }
        self.resident.push_front(environment);
        while !self.held.fits(self.budget)
            && let Some(oldest) = self.resident.pop_back()
        {
            self.remove(oldest);
            self.evictions += 1;
        }
        place.is_some()
    }

    /// Bytes and inodes that a request for the environment would have to add.
    pub fn missing(&self, environment: u32) -> Weight {
        let known = &self.catalog.environments()[environment as usize];
        if self.resident.contains(&environment) {
            return Weight::default();
        }
        let parts = known.parts.iter().filter(|part| self.users[**part as usize] == 0);
        parts.map(|part| self.catalog.parts()[*part as usize]).sum::<Weight>() + known.own
    }

    fn add(&mut self, environment: u32) {
        let known = &self.catalog.environments()[environment as usize];
        self.held += known.own;
        for part in &known.parts {
            let users = &mut self.users[*part as usize];
            *users += 1;
            if *users == 1 {
                self.held += self.catalog.parts()[*part as usize];
            }
        }
    }

    fn remove(&mut self, environment: u32) {
        let known = &self.catalog.environments()[environment as usize];
        let mut freed = known.own;
        for part in &known.parts {
            let users = &mut self.users[*part as usize];
            *users -= 1;
            if *users == 0 {
                freed += self.catalog.parts()[*part as usize];
            }
        }
        self.held = self.held.saturating_sub(freed);
    }
}
