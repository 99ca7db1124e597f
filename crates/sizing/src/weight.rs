//! Usage of a volume: bytes and inodes, always together.

use serde::{Deserialize, Serialize};

/// Allocated bytes and inodes. The JSON form is the array `[bytes, inodes]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Weight {
    /// Allocated bytes: blocks times 512.
    pub bytes: u64,
    /// Number of inodes.
    pub inodes: u64,
}

impl Weight {
    /// The largest values: a budget that holds everything.
    pub const MAX: Weight = Weight {
        bytes: u64::MAX,
        inodes: u64::MAX,
    };

    /// Creates a weight from bytes and inodes.
    pub const fn new(bytes: u64, inodes: u64) -> Weight {
        Weight { bytes, inodes }
    }

    /// True if both numbers are within `budget`.
    pub fn fits(self, budget: Weight) -> bool {
        self.bytes <= budget.bytes && self.inodes <= budget.inodes
    }

    /// The larger value of each number, separately.
    #[must_use]
    pub fn max(self, other: Weight) -> Weight {
        Weight {
            bytes: self.bytes.max(other.bytes),
            inodes: self.inodes.max(other.inodes),
        }
    }

    /// The difference of each number, but not below zero.
    #[must_use]
    pub fn saturating_sub(self, other: Weight) -> Weight {
        Weight {
            bytes: self.bytes.saturating_sub(other.bytes),
            inodes: self.inodes.saturating_sub(other.inodes),
        }
    }
}

impl From<(u64, u64)> for Weight {
    fn from((bytes, inodes): (u64, u64)) -> Weight {
        Weight { bytes, inodes }
    }
}

impl From<Weight> for (u64, u64) {
    fn from(weight: Weight) -> (u64, u64) {
        (weight.bytes, weight.inodes)
    }
}

impl std::ops::AddAssign for Weight {
    fn add_assign(&mut self, other: Weight) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.inodes = self.inodes.saturating_add(other.inodes);
    }
}

impl std::ops::Add for Weight {
    type Output = Weight;

    fn add(mut self, other: Weight) -> Weight {
        self += other;
        self
    }
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Weight>>(weights: I) -> Weight {
        weights.fold(Weight::default(), std::ops::Add::add)
    }
}
