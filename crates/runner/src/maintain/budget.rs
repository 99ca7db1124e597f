//! How much a volume may hold: what an operator sets, or what its file system leaves.

use std::path::Path;

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::FileSystemUsage;
use hybrid_cache_model::protocol::BudgetRequest;

use super::usage::file_system;
use crate::store::measure::Taken;

/// Part of what is free that a cache leaves to others where it does not have the file system for itself, in percent.
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
    /// file system has for it, which is what is free and what it holds. So it shrinks when others fill the disk. A claim
    /// whose size is known is held to the same part of that, should the file system be larger.
    ///
    /// # Errors
    /// The file system cannot be asked.
    pub fn of(asked: &BudgetRequest, root: &Path, held: Taken) -> Result<Budget, Failure> {
        let found = file_system("", root)?;
        let part: fn(u64) -> u64 = if asked.is_claim {
            BudgetRequest::default_on_claim
        } else {
            |bytes| bytes / 100 * (100 - LEFT_ON_MACHINE_PERCENT)
        };
        let mut by_default = Budget::by_default(&found, held, part);
        if let Some(claim) = asked.claim_bytes {
            by_default.bytes = by_default.bytes.min(BudgetRequest::default_on_claim(claim));
        }
        Ok(Budget {
            bytes: asked.bytes.unwrap_or(by_default.bytes),
            inodes: asked.inodes.unwrap_or(by_default.inodes),
        })
    }

    fn by_default(found: &FileSystemUsage, held: Taken, part: fn(u64) -> u64) -> Budget {
        Budget {
            bytes: part(found.free_bytes.saturating_add(held.bytes)),
            // Some file systems make inodes as they need them, and count none.
            inodes: if found.total_inodes == 0 {
                u64::MAX
            } else {
                part(found.free_inodes.saturating_add(held.inodes))
            },
        }
    }

    /// Half as much.
    pub fn half(self) -> Budget {
        Budget {
            bytes: self.bytes / 2,
            inodes: self.inodes / 2,
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
        let half = |bytes| bytes / 100 * 50;
        let roomy = Budget::by_default(&disk(600, 1800, 9000), held, half);
        assert_eq!((roomy.bytes, roomy.inodes, roomy.allows(held)), (500, 1000, true));
        let full = Budget::by_default(&disk(0, 1800, 9000), held, half);
        assert_eq!((full.bytes, full.allows(held)), (200, false));
        let claim = Budget::by_default(&disk(600, 0, 0), held, BudgetRequest::default_on_claim);
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
        // A claim that is a folder of a larger disk.
        let small = BudgetRequest::default().on_claim(1000);
        let of = |asked: &BudgetRequest| Budget::of(asked, dir.path(), Taken::default()).unwrap();
        assert_eq!(of(&small).bytes, 880);
        assert!(
            of(&BudgetRequest::default().on_claim(u64::MAX)).bytes < u64::MAX / 100 * 88,
            "the disk is smaller"
        );
        assert_eq!(
            of(&BudgetRequest {
                bytes: Some(7),
                ..small
            })
            .bytes,
            7
        );
    }
}
