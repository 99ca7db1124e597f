//! Computes the size of the claim to order from what the volume has to hold.
//!
//! Budget and claim are two numbers. The budget is the limit to which eviction keeps a volume. The claim is a file system that has
//! to hold the budget, the environments being built at the same time, the file system's own data, and headroom.

use serde::Serialize;

use crate::Weight;
use crate::number::{float, whole};

/// One GiB in bytes.
pub const GIB: u64 = 1 << 30;
/// Share of a claim's usable space that is the default budget, in percent.
pub const DEFAULT_BUDGET_PERCENT: u64 = 88;
/// The largest recommended claim, in GiB: 64 TiB, the upper limit of block storage.
const MOST_GIB: u64 = 65_536;
/// Common claim sizes, in GiB.
const LADDER: [u64; 31] = [
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 75, 100, 125, 150, 200, 250, 300, 400, 500, 750, 1000,
    1500, 2000, 4000, 8000,
];

/// The file system of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileSystem {
    /// ext4 with the defaults of `mkfs.ext4`: inodes are created in advance, one for each 16 KiB.
    #[default]
    Ext4,
    /// XFS with the defaults of `mkfs.xfs`: inodes are created when needed, and then use space.
    Xfs,
}

/// Space for an ordinary user in a new file system: size in MiB, and 4096-byte free blocks as `statfs` reports them. Measured with
/// e2fsprogs 1.47 and xfsprogs 6.1. An ext4 below 512 MiB is created with the block size and the inodes of larger ones, as a proof
/// creates it. Its journal grows in steps, and an ext4 of 128 MiB has less space than one of 127.
const EXT4: [(u64, u64); 21] = [
    (64, 13_940),
    (96, 21_427),
    (100, 22_362),
    (127, 28_679),
    (128, 25_841),
    (160, 33_305),
    (200, 42_658),
    (256, 55_753),
    (320, 70_715),
    (400, 89_369),
    (512, 115_544),
    (600, 136_108),
    (800, 182_738),
    (1 << 10, 231_986),
    (5 << 10, 1_199_010),
    (10 << 10, 2_419_519),
    (20 << 10, 4_850_318),
    (50 << 10, 12_163_186),
    (100 << 10, 24_341_736),
    (200 << 10, 48_702_963),
    (500 << 10, 122_176_569),
];
const XFS: [(u64, u64); 8] = [
    (1 << 10, 235_783),
    (5 << 10, 1_277_047),
    (10 << 10, 2_578_630),
    (20 << 10, 5_181_793),
    (50 << 10, 12_991_285),
    (100 << 10, 26_007_102),
    (200 << 10, 52_029_572),
    (500 << 10, 130_086_337),
];
const MIB: u64 = 1 << 20;
const BLOCK_BYTES: u64 = 4096;
const XFS_INODE_BYTES: u64 = 512;
/// Largest space for inodes in an XFS, relative to its size: one inode for each 2 KiB.
const XFS_BYTES_PER_INODE: u64 = 2048;

impl FileSystem {
    /// Name of the file system.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }

    /// Bytes of size for each inode.
    pub fn bytes_per_inode(self) -> u64 {
        match self {
            FileSystem::Ext4 => 16_384,
            FileSystem::Xfs => XFS_BYTES_PER_INODE,
        }
    }

    /// Space for an ordinary user in a new file system of this size in GiB.
    pub fn room(self, gib: u64) -> Weight {
        self.room_of(gib * GIB)
    }

    /// Space for an ordinary user in a new file system of this size in bytes.
    pub fn room_of(self, bytes: u64) -> Weight {
        let mib = float(bytes) / float(MIB);
        let table: &[(u64, u64)] = match self {
            FileSystem::Ext4 => &EXT4,
            FileSystem::Xfs => &XFS,
        };
        let upper = table
            .iter()
            .position(|(size, _)| float(*size) >= mib)
            .unwrap_or(table.len() - 1);
        let (low, high) = (table[upper.max(1) - 1], table[upper.max(1)]);
        // Beyond the smallest and largest measured sizes, extend the line through the nearest two.
        let slope = (float(high.1) - float(low.1)) / (float(high.0) - float(low.0));
        let blocks = float(low.1) + slope * (mib - float(low.0));
        Weight {
            bytes: whole(blocks.max(0.0)) * BLOCK_BYTES,
            inodes: bytes / self.bytes_per_inode(),
        }
    }

    /// Bytes that inodes take from the space for files.
    fn inode_bytes(self, inodes: u64) -> u64 {
        match self {
            FileSystem::Ext4 => 0,
            FileSystem::Xfs => inodes.saturating_mul(XFS_INODE_BYTES),
        }
    }
}

/// A claim and its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Claim {
    /// Size of the claim in GiB.
    pub gib: u64,
    /// The budget of the volume: environments, data that belongs to no environment, and growth.
    pub budget: Weight,
    /// Bytes being built at one time.
    pub building_bytes: u64,
    /// Free space to keep, in bytes.
    pub headroom_bytes: u64,
    /// Bytes that the file system keeps for itself.
    pub file_system_bytes: u64,
}

impl Claim {
    /// The division of a claim. `file_system` is `None` for a claim that is a folder of a larger file system, which takes no part
    /// of the claim.
    pub fn divide(bytes: u64, file_system: Option<FileSystem>, budget: Weight, building_bytes: u64) -> Claim {
        let room = room_of(bytes, file_system);
        let inode_bytes = file_system.map_or(0, |file_system| file_system.inode_bytes(budget.inodes));
        let used = budget.bytes.saturating_add(building_bytes).saturating_add(inode_bytes);
        Claim {
            gib: bytes / GIB,
            budget,
            building_bytes,
            headroom_bytes: room.bytes.saturating_sub(used),
            file_system_bytes: bytes.saturating_sub(room.bytes) + inode_bytes,
        }
    }

    /// The division of a claim with hybrid-cache's default budget.
    pub fn with_default_budget(bytes: u64, file_system: Option<FileSystem>, building_bytes: u64) -> Claim {
        let room = room_of(bytes, file_system);
        let budget = default_budget(room);
        Claim::divide(bytes, file_system, budget, building_bytes)
    }
}

fn room_of(bytes: u64, file_system: Option<FileSystem>) -> Weight {
    let folder = Weight::new(bytes, u64::MAX);
    file_system.map_or(folder, |file_system| file_system.room_of(bytes))
}

/// What a claim has to hold in addition to its environments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Needs {
    /// The file system.
    pub file_system: FileSystem,
    /// Usage that counts against the budget and belongs to no environment.
    pub rest: Weight,
    /// Bytes being built at one time.
    pub building_bytes: u64,
    /// Free space to keep, as a share of the used space.
    pub headroom: f64,
    /// Growth of the environments until the claim is reviewed, as a factor.
    pub growth: f64,
}

impl Needs {
    /// The smallest claim for environments that use at most `held`.
    pub fn claim(&self, held: Weight) -> Claim {
        let budget = self.budget(held);
        let least = first(MOST_GIB, |gib| self.fits(gib * GIB, budget));
        Claim::divide(least * GIB, Some(self.file_system), budget, self.building_bytes)
    }

    /// The smallest claim in bytes, as a multiple of `step`: for volumes that are too small to be ordered.
    pub fn claim_bytes(&self, held: Weight, step: u64) -> u64 {
        let (budget, step) = (self.budget(held), step.max(1));
        first(MOST_GIB * (GIB / step).max(1), |steps| self.fits(steps * step, budget)) * step
    }

    fn budget(&self, held: Weight) -> Weight {
        let grown = |value: u64| whole(float(value) * self.growth.max(1.0));
        Weight::new(grown(held.bytes), grown(held.inodes)) + self.rest
    }

    fn fits(&self, bytes: u64, budget: Weight) -> bool {
        let room = self.file_system.room_of(bytes);
        self.bytes_fit(room, budget) && budget.inodes <= by_default(room.inodes)
    }

    fn bytes_fit(&self, room: Weight, budget: Weight) -> bool {
        let used = budget.bytes + self.building_bytes + self.file_system.inode_bytes(budget.inodes);
        let needed = whole(float(used) * (1.0 + self.headroom));
        needed <= room.bytes && budget.bytes <= by_default(room.bytes)
    }
}

/// The default budget for this much space.
pub fn default_budget(room: Weight) -> Weight {
    Weight::new(by_default(room.bytes), by_default(room.inodes))
}

/// The default budget for bytes or inodes alone.
pub fn by_default(room: u64) -> u64 {
    room / 100 * DEFAULT_BUDGET_PERCENT
}

/// The first number that is enough, at most `most`; all larger numbers are enough too.
fn first(most: u64, is_enough: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, most);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// The next smaller and the next larger common claim, in GiB.
pub fn neighbours(gib: u64) -> (Option<u64>, Option<u64>) {
    let smaller = LADDER.iter().rev().find(|size| **size < gib);
    let larger = LADDER.iter().find(|size| **size > gib);
    (smaller.copied(), larger.copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_measured_sizes_is_what_was_measured() {
        for (file_system, table) in [(FileSystem::Ext4, &EXT4[..]), (FileSystem::Xfs, &XFS[..])] {
            for (mib, blocks) in table {
                let room = file_system.room_of(mib * MIB);
                assert_eq!(room.bytes, blocks * BLOCK_BYTES, "{mib} {file_system:?}");
            }
            for gib in [2, 7, 33, 450, 2000] {
                let share = float(file_system.room(gib).bytes) / float(gib * GIB);
                assert!((0.88..0.999).contains(&share), "{gib} {file_system:?}: {share}");
            }
        }
        assert_eq!(FileSystem::Ext4.room(10).inodes, 655_360);
        assert_eq!(FileSystem::Xfs.room(10).inodes, 5_242_880);
    }

    #[test]
    fn a_claim_holds_everything_and_one_gib_less_does_not() {
        let needs = Needs {
            building_bytes: GIB / 2,
            headroom: 0.2,
            growth: 1.0,
            rest: Weight::new(100 << 20, 1000),
            ..Needs::default()
        };
        let claim = needs.claim(Weight::new(8 * GIB, 100_000));
        let used = claim.budget.bytes + claim.building_bytes;
        assert_eq!(used + claim.headroom_bytes + claim.file_system_bytes, claim.gib * GIB);
        assert!(needs.fits(claim.gib * GIB, claim.budget) && !needs.fits((claim.gib - 1) * GIB, claim.budget));
        assert_eq!(claim.gib, 12, "{claim:?}");
        let exact = needs.claim_bytes(Weight::new(8 * GIB, 100_000), 1 << 20);
        assert!(exact <= 12 * GIB && exact > 11 * GIB, "{exact}");
        // This many inodes need 20 GiB of ext4; on XFS they need less space than the bytes do.
        let many = Weight::new(8 * GIB, 1_100_000);
        let claim = needs.claim(many);
        assert_eq!(claim.gib, 20, "{claim:?}");
        let xfs = Needs {
            file_system: FileSystem::Xfs,
            ..needs
        };
        assert_eq!(xfs.claim(many).gib, 12);
    }

    #[test]
    fn what_is_recommended_and_what_a_claim_is_held_to_are_divided_alike() {
        let needs = Needs {
            building_bytes: GIB / 4,
            ..Needs::default()
        };
        let ordered = needs.claim(Weight::new(8 * GIB, 1000));
        let held = Claim::with_default_budget(ordered.gib * GIB, Some(FileSystem::Ext4), GIB / 4);
        assert!(held.budget.bytes >= ordered.budget.bytes, "{held:?} {ordered:?}");
        for claim in [held, ordered, Claim::with_default_budget(10 * GIB, None, GIB)] {
            let all = claim.budget.bytes + claim.building_bytes + claim.headroom_bytes + claim.file_system_bytes;
            assert_eq!(all, claim.gib * GIB, "{claim:?}");
        }
        assert_eq!(Claim::with_default_budget(10 * GIB, None, GIB).file_system_bytes, 0);
    }

    #[test]
    fn neighbours_are_sizes_that_people_order() {
        assert_eq!(neighbours(20), (Some(15), Some(25)));
        assert_eq!(neighbours(1), (None, Some(2)));
    }
}
