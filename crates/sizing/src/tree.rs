//! Sums over a sequence of weights that change one by one: like a Fenwick tree, but with thirty-two children per node.
//!
//! A request changes one position for each distinct last use among its parts and computes one sum, so there are far more changes
//! than sums. Three levels of thirty-two hold what needs fifteen levels in a binary Fenwick tree: a change updates one number of
//! each level, and a sum reads neighbours in memory.

use crate::Weight;

const BITS: u32 = 5;
const FAN_OUT: usize = 1 << BITS;

/// Weights by position, and the sums of blocks of them.
#[derive(Clone, Debug)]
pub struct SumTree {
    /// Level 0 has the weights; the next levels have sums of 32, of 1024, and so on.
    levels: Vec<Vec<Weight>>,
}

impl SumTree {
    /// Creates a tree of at least `positions` zeros.
    pub fn new(positions: usize) -> SumTree {
        let mut levels = Vec::new();
        let mut length = positions.max(FAN_OUT).next_multiple_of(FAN_OUT);
        loop {
            levels.push(vec![Weight::default(); length]);
            if length <= FAN_OUT {
                return SumTree { levels };
            }
            length = length.div_ceil(FAN_OUT).next_multiple_of(FAN_OUT);
        }
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.levels[0].len()
    }

    /// Adds to the weight at one position.
    pub fn add(&mut self, position: u32, weight: Weight) {
        let mut at = position as usize;
        for level in &mut self.levels {
            level[at].bytes += weight.bytes;
            level[at].inodes += weight.inodes;
            at >>= BITS;
        }
    }

    /// Subtracts from the weight at one position.
    pub fn take(&mut self, position: u32, weight: Weight) {
        let mut at = position as usize;
        for level in &mut self.levels {
            level[at].bytes -= weight.bytes;
            level[at].inodes -= weight.inodes;
            at >>= BITS;
        }
    }

    /// The sum of all positions before `position`.
    pub fn before(&self, position: u32) -> Weight {
        let mut at = position as usize;
        let (mut bytes, mut inodes) = (0, 0);
        let last = self.levels.len() - 1;
        for (depth, level) in self.levels.iter().enumerate() {
            // The last level has only one block, and a position after its end comes after all of its entries.
            let block = if depth == last { 0 } else { at & !(FAN_OUT - 1) };
            for weight in &level[block..at] {
                bytes += weight.bytes;
                inodes += weight.inodes;
            }
            at >>= BITS;
        }
        Weight { bytes, inodes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::Random;

    #[test]
    fn sums_agree_with_plain_addition_at_every_position() {
        for positions in [1, 31, 32, 33, 1024, 1025, 40_000] {
            let mut tree = SumTree::new(positions);
            let mut plain = vec![Weight::default(); tree.positions()];
            let mut random = Random::seeded(positions as u64);
            for _ in 0..500 {
                let at = random.below(positions);
                let weight = Weight::new(random.next() >> 40, random.next() >> 50);
                tree.add(u32::try_from(at).unwrap(), weight);
                plain[at] += weight;
                if random.below(3) == 0 {
                    tree.take(u32::try_from(at).unwrap(), plain[at]);
                    plain[at] = Weight::default();
                }
            }
            for at in (0..positions).step_by(1 + positions / 200).chain([tree.positions()]) {
                let expected: Weight = plain[..at].iter().copied().sum();
                assert_eq!(tree.before(u32::try_from(at).unwrap()), expected, "{at} of {positions}");
            }
        }
    }
}
