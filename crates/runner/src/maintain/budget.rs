//! How much a volume may hold: what an operator sets, or what its file system leaves.

use std::path::Path;

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::FileSystemUsage;
use hybrid_cache_model::protocol::BudgetRequest;

use super::usage::file_system;
use crate::store::measure::Taken;

/// Part of what is free that a cache leaves to others, where it has the file system for itself (a claim) and where it does
/// not (a machine), in percent.
const LEFT_ON_CLAIM_PERCENT: u64 = 12;
const LEFT_ON_MACHINE_PERCENT: u64 = 50;

/// The most that a volume may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Allocated bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Budget {
    /// As much as fits.
    pub const UNLIMITED: Budget = Budget {
        bytes: u64::MAX,
        inodes: u64::MAX,
    };

    /// The budget of the volume at `root`, which holds `held` now: what is asked for, and by default a part of what the
    /// file system has for it, which is what is free and what it holds. So it shrinks when others fill the disk.
    ///
    /// # Errors
    /// The file system cannot be asked.
    pub fn of(asked: &BudgetRequest, root: &Path, held: Taken) -> Result<Budget, Failure> {
        let found = file_system("", root)?;
        let left = if asked.is_claim {
            LEFT_ON_CLAIM_PERCENT
        } else {
            LEFT_ON_MACHINE_PERCENT
        };
        let by_default = Budget::by_default(&found, held, left);
        Ok(Budget {
            bytes: asked.bytes.unwrap_or(by_default.bytes),
            inodes: asked.inodes.unwrap_or(by_default.inodes),
        })
    }

    fn by_default(found: &FileSystemUsage, held: Taken, left_percent: u64) -> Budget {
        let part = |free: u64, held: u64| (free.saturating_add(held) / 100).saturating_mul(100 - left_percent);
        Budget {
            bytes: part(found.free_bytes, held.bytes),
            // Some file systems make inodes as they need them, and count none.
            inodes: if found.total_inodes == 0 {
                u64::MAX
            } else {
                part(found.free_inodes, held.inodes)
            },
        }
    }

    /// True where `taken` is within it.
    pub fn allows(self, taken: Taken) -> bool {
        taken.bytes <= self.bytes && taken.inodes <= self.inodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_leaves_a_part_of_what_is_free_and_shrinks_with_it() {
        let disk = |free_bytes, free_inodes, total_inodes| FileSystemUsage {
            free_bytes,
            free_inodes,
            total_inodes,
            ..FileSystemUsage::default()
        };
        let held = Taken {
            bytes: 400,
            inodes: 200,
            entries: 0,
        };
        let roomy = Budget::by_default(&disk(600, 1800, 9000), held, LEFT_ON_MACHINE_PERCENT);
        assert_eq!((roomy.bytes, roomy.inodes, roomy.allows(held)), (500, 1000, true));
        let full = Budget::by_default(&disk(0, 1800, 9000), held, LEFT_ON_MACHINE_PERCENT);
        assert_eq!((full.bytes, full.allows(held)), (200, false));
        let claim = Budget::by_default(&disk(600, 0, 0), held, LEFT_ON_CLAIM_PERCENT);
        assert_eq!((claim.bytes, claim.inodes), (880, u64::MAX));
    }

    #[test]
    fn what_is_asked_for_counts() {
        let dir = tempfile::tempdir().unwrap();
        let asked = BudgetRequest {
            bytes: Some(7),
            ..BudgetRequest::default()
        };
        let budget = Budget::of(&asked, dir.path(), Taken::default()).unwrap();
        assert!(budget.bytes == 7 && budget.inodes > 7);
    }
}
