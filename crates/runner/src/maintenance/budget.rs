//! The budget of a volume: what an operator sets, or a share of its file system.

use std::path::Path;

use hybrid_cache_model::Failure;
use hybrid_cache_model::budget::BudgetRequest;

use crate::store::measure::{DiskUsage, file_system};

/// The most that a volume may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Allocated bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Budget {
    /// The budget of the volume at `root`, which holds `held` now: see [`BudgetRequest::limits`].
    ///
    /// # Errors
    /// The file system's size cannot be read.
    pub fn from_request(asked: &BudgetRequest, root: &Path, held: DiskUsage) -> Result<Budget, Failure> {
        let found = file_system("", root)?;
        let (bytes, inodes) = asked.limits(&found, held.bytes, held.inodes);
        Ok(Budget { bytes, inodes })
    }

    /// Half of the budget.
    pub fn half(self) -> Budget {
        Budget {
            bytes: self.bytes / 2,
            inodes: self.inodes / 2,
        }
    }

    /// True if `size` is within the budget.
    pub fn allows(self, size: DiskUsage) -> bool {
        size.bytes <= self.bytes && size.inodes <= self.inodes
    }
}

/// How much must be freed until 1/`part` of the file system is free.
pub fn lacking(root: &Path, part: u64) -> Result<DiskUsage, Failure> {
    let found = file_system("", root)?;
    Ok(DiskUsage {
        bytes: (found.total_bytes / part).saturating_sub(found.free_bytes),
        inodes: (found.total_inodes / part).saturating_sub(found.free_inodes),
        entries: 0,
    })
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::budget::FileSystemUsage;

    use super::*;

    #[test]
    fn the_default_budget_shrinks_with_the_free_space() {
        let disk = |free_bytes, free_inodes, total_inodes| FileSystemUsage {
            free_bytes,
            free_inodes,
            total_inodes,
            ..FileSystemUsage::default()
        };
        let held = DiskUsage {
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
    fn a_requested_budget_overrides_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let asked = BudgetRequest {
            bytes: Some(7),
            ..BudgetRequest::default()
        };
        let budget = Budget::from_request(&asked, dir.path(), DiskUsage::default()).unwrap();
        assert!(budget.bytes == 7 && budget.inodes > 7);
        // A claim that is a folder of a larger disk.
        let small = BudgetRequest::default().on_claim(1000);
        let of = |asked: &BudgetRequest| Budget::from_request(asked, dir.path(), DiskUsage::default()).unwrap();
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
