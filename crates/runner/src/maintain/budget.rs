//! How much a volume may hold: what an operator sets, or what its file system leaves.

use std::path::Path;

use hybrid_cache_model::Failure;
use hybrid_cache_model::budget::BudgetRequest;

use super::usage::file_system;
use crate::store::measure::Taken;

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

    /// The budget of the volume at `root`, which holds `held` now: see [`BudgetRequest::limits`].
    ///
    /// # Errors
    /// The file system cannot be asked.
    pub fn of(asked: &BudgetRequest, root: &Path, held: Taken) -> Result<Budget, Failure> {
        let found = file_system("", root)?;
        let (bytes, inodes) = asked.limits(&found, held.bytes, held.inodes);
        Ok(Budget { bytes, inodes })
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
    use hybrid_cache_model::budget::FileSystemUsage;

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
        let of = |asked: BudgetRequest, disk: FileSystemUsage| {
            let (bytes, inodes) = asked.limits(&disk, held.bytes, held.inodes);
            Budget { bytes, inodes }
        };
        let half = BudgetRequest::default();
        let roomy = of(half, disk(600, 1800, 9000));
        assert_eq!((roomy.bytes, roomy.inodes, roomy.allows(held)), (500, 1000, true));
        let full = of(half, disk(0, 1800, 9000));
        assert_eq!((full.bytes, full.allows(held)), (200, false));
        let claim = of(half.on_claim(0), disk(600, 0, 0));
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
