//! Computes the distance of each request: the smallest budget at which it hits.
//!
//! The distance of a request is the union of everything used since its environment was last used, including the environment
//! itself. A part is in that union if its own last use, through any environment, is not older. So the distance is one sum over the
//! last uses of parts. The sum is exact for bytes and inodes at once, because residency at a pair of budgets is the longest prefix
//! of the recency list that fits into both.
//!
//! **Budgets below the largest environment.** The distances stay exact for a cache that evicts everything, including the oversized
//! environment, as soon as its request is over. hybrid-cache keeps the environment that a task runs from, so the volume exceeds
//! such a budget as long as that environment is the last one used. A request that directly follows one for the same oversized
//! environment then hits although its distance exceeds the budget. No other request differs.

use crate::Weight;
use crate::groups::Groups;
use crate::number::{index, narrow};
use crate::trace::VolumeCatalog;
use crate::tree::SumTree;

const NEVER: u32 = u32::MAX;

/// The recency list of one volume, as sums.
#[derive(Clone, Debug)]
pub struct Stack {
    groups: Groups,
    /// Weight and last use of each group, next to each other, because a request needs both of each of its groups.
    parts: Vec<Part>,
    tree: SumTree,
    /// The next position; positions are times of use, and are renumbered at intervals.
    now: u32,
    /// Usage of everything that was used so far.
    total: Weight,
    environment_used: Vec<u32>,
    /// The weight that moves away from each position in the current request, and the list of those positions.
    moving: Vec<Weight>,
    touched: Vec<u32>,
}

/// A group of parts that always occur together.
#[derive(Clone, Copy, Debug)]
struct Part {
    bytes: u64,
    inodes: u32,
    used: u32,
}

impl Part {
    fn weight(self) -> Weight {
        Weight::new(self.bytes, self.inodes.into())
    }
}

/// Some of an environment's parts, and the smallest budget at which they are resident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The smallest budget; `None` if the parts were never used before.
    pub distance: Option<Weight>,
    /// Usage of these parts.
    pub weight: Weight,
}

impl Stack {
    /// Creates the stack of an empty volume.
    pub fn new(catalog: &VolumeCatalog) -> Stack {
        let groups = Groups::from_catalog(catalog);
        // At most one position for each environment is in use, so renumbering frees at least half of the positions. A larger tree
        // would not fit into the processor's cache.
        let tree = SumTree::new((groups.environments.len() * 2).max(1024));
        let parts = groups.weights.iter().map(|weight| Part {
            bytes: weight.bytes,
            inodes: narrow(index(weight.inodes)),
            used: NEVER,
        });
        Stack {
            parts: parts.collect(),
            environment_used: vec![NEVER; groups.environments.len()],
            moving: vec![Weight::default(); tree.positions()],
            touched: Vec::new(),
            now: 0,
            total: Weight::default(),
            tree,
            groups,
        }
    }

    /// Usage of an environment with all its parts.
    pub fn weight(&self, environment: u32) -> Weight {
        self.groups.environments[environment as usize]
    }

    /// The smallest budget at which a request for the environment would hit now; `None` before its first use.
    pub fn distance(&self, environment: u32) -> Option<Weight> {
        self.since(self.environment_used[environment as usize])
    }

    /// Usage of everything used at a position or later.
    fn since(&self, position: u32) -> Option<Weight> {
        if position == NEVER {
            return None;
        }
        let before = self.tree.before(position);
        Some(Weight {
            bytes: self.total.bytes - before.bytes,
            inodes: self.total.inodes - before.inodes,
        })
    }

    /// Records a use of the environment and returns its distance before that.
    pub fn touch(&mut self, environment: u32) -> Option<Weight> {
        self.touch_pieces(environment, None)
    }

    /// Records a use like [`Stack::touch`]; `pieces` is set to the environment's parts, grouped by the budget at which they were
    /// resident.
    pub fn touch_with(&mut self, environment: u32, pieces: &mut Vec<Piece>) -> Option<Weight> {
        pieces.clear();
        self.touch_pieces(environment, Some(pieces))
    }

    fn touch_pieces(&mut self, environment: u32, pieces: Option<&mut Vec<Piece>>) -> Option<Weight> {
        let used = self.environment_used[environment as usize];
        let whole = self.weight(environment);
        if used != NEVER && used + 1 == self.now {
            // The environment was used last, so nothing moves.
            if let Some(pieces) = pieces {
                pieces.push(Piece {
                    distance: Some(whole),
                    weight: whole,
                });
            }
            return Some(whole);
        }
        let distance = self.since(used);
        if self.now as usize == self.tree.positions() {
            self.renumber();
        }
        let mut first_uses = Weight::default();
        for group in self.groups.groups_of(environment) {
            let part = &mut self.parts[*group as usize];
            let weight = part.weight();
            let used = std::mem::replace(&mut part.used, self.now);
            if used == NEVER {
                first_uses += weight;
                continue;
            }
            if weight == Weight::default() {
                continue;
            }
            let moving = &mut self.moving[used as usize];
            if *moving == Weight::default() {
                self.touched.push(used);
            }
            moving.bytes += weight.bytes;
            moving.inodes += weight.inodes;
        }
        if let Some(pieces) = pieces {
            self.tell(first_uses, pieces);
        }
        while let Some(position) = self.touched.pop() {
            let moving = std::mem::take(&mut self.moving[position as usize]);
            self.tree.take(position, moving);
        }
        self.tree.add(self.now, whole);
        self.total += first_uses;
        self.environment_used[environment as usize] = self.now;
        self.now += 1;
        distance
    }

    fn tell(&self, first_uses: Weight, pieces: &mut Vec<Piece>) {
        for position in &self.touched {
            let weight = self.moving[*position as usize];
            let distance = self.since(*position);
            pieces.push(Piece { distance, weight });
        }
        if first_uses != Weight::default() {
            pieces.push(Piece {
                distance: None,
                weight: first_uses,
            });
        }
    }

    /// Renumbers the positions in use from 0 in their order, so that positions are free again.
    fn renumber(&mut self) {
        let mut is_used = vec![false; self.now as usize];
        for part in self.parts.iter().filter(|part| part.used != NEVER) {
            is_used[part.used as usize] = true;
        }
        // An environment's own usage was last used when the environment was, so each environment's position is in use.
        let mut next = 0;
        let numbers: Vec<u32> = is_used
            .iter()
            .map(|is_used| {
                let number = next;
                next += u32::from(*is_used);
                number
            })
            .collect();
        self.now = next;
        let groups = self.parts.iter_mut().map(|part| &mut part.used);
        for used in groups.chain(&mut self.environment_used) {
            if *used != NEVER {
                *used = numbers[*used as usize];
            }
        }
        self.tree = SumTree::new(self.tree.positions());
        for part in self.parts.iter().filter(|part| part.used != NEVER) {
            self.tree.add(part.used, part.weight());
        }
    }

    /// The distances of all used environments, smallest first: those that fit into a budget are resident.
    pub fn distances(&self) -> Vec<Weight> {
        let all = 0..narrow(self.environment_used.len());
        let mut distances: Vec<Weight> = all.filter_map(|environment| self.distance(environment)).collect();
        distances.sort_unstable_by_key(|distance| (distance.bytes, distance.inodes));
        distances
    }

    /// Usage of everything that was used so far.
    pub fn total(&self) -> Weight {
        self.total
    }
}
