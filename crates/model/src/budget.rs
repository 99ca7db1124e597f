//! How much a volume may hold: what an operator sets, or by default a share of its file system.

use serde::{Deserialize, Serialize};

/// What the file system of a volume has in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemUsage {
    /// `python` or `system`.
    pub volume: String,
    /// Its size in bytes.
    pub total_bytes: u64,
    /// Bytes an ordinary user may still take.
    pub free_bytes: u64,
    /// Its inodes; 0 if the file system does not count them.
    pub total_inodes: u64,
    /// Inodes an ordinary user may still take.
    pub free_inodes: u64,
}

/// How much each volume may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// The Python volume.
    #[serde(default)]
    pub python: BudgetRequest,
    /// The system volume.
    #[serde(default)]
    pub system: BudgetRequest,
}

impl Budgets {
    /// The same for both volumes.
    pub fn both(budget: BudgetRequest) -> Budgets {
        Budgets {
            python: budget,
            system: budget,
        }
    }

    /// The same on claims of these sizes, in bytes; 0 if a size is not known.
    #[must_use]
    pub fn on_claims(self, python_bytes: u64, system_bytes: u64) -> Budgets {
        Budgets {
            python: self.python.on_claim(python_bytes),
            system: self.system.on_claim(system_bytes),
        }
    }
}

/// Part of a claim that its cache leaves free by default, in percent: preparations and the file system itself need room.
const LEFT_ON_CLAIM_PERCENT: u64 = 12;
/// Part of what is free that a cache leaves to others if it does not have the file system for itself, in percent.
const LEFT_ON_MACHINE_PERCENT: u64 = 50;

/// How much a volume may hold. What is not given is a part of what the file system has for the cache: of what is free and
/// what the cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRequest {
    /// Allocated bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Inodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// True if the file system is there for the cache, as that of a claim is; the default leaves less of it to others.
    #[serde(default)]
    pub is_claim: bool,
    /// Bytes of the claim, if they are known: a claim that is a folder of a larger file system is held to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_bytes: Option<u64>,
}

impl BudgetRequest {
    /// The most bytes that a volume may hold by default on a claim of so many bytes.
    pub fn default_on_claim(bytes: u64) -> u64 {
        bytes / 100 * (100 - LEFT_ON_CLAIM_PERCENT)
    }

    /// The limits in bytes and inodes of a volume that holds this much now: the given ones, or by default a share of what is free
    /// and what the volume holds. So a limit shrinks when others fill the disk. For a claim of a known size, the share is that of
    /// the claim if the file system is larger.
    pub fn limits(&self, found: &FileSystemUsage, held_bytes: u64, held_inodes: u64) -> (u64, u64) {
        let part: fn(u64) -> u64 = if self.is_claim {
            BudgetRequest::default_on_claim
        } else {
            |bytes| bytes / 100 * (100 - LEFT_ON_MACHINE_PERCENT)
        };
        let of_claim = self.claim_bytes.map_or(u64::MAX, BudgetRequest::default_on_claim);
        let bytes = part(found.free_bytes.saturating_add(held_bytes)).min(of_claim);
        // Some file systems make inodes as they need them, and count none.
        let inodes = if found.total_inodes == 0 {
            u64::MAX
        } else {
            part(found.free_inodes.saturating_add(held_inodes))
        };
        (self.bytes.unwrap_or(bytes), self.inodes.unwrap_or(inodes))
    }

    /// The budget of settings in which 0 stands for what is not given.
    pub fn from_settings(bytes: u64, inodes: u64) -> BudgetRequest {
        let given = |limit: u64| (limit != 0).then_some(limit);
        BudgetRequest {
            bytes: given(bytes),
            inodes: given(inodes),
            ..BudgetRequest::default()
        }
    }

    /// The same on a file system that is there for the cache, on a claim of so many bytes; 0 if that is not known.
    #[must_use]
    pub fn on_claim(self, bytes: u64) -> BudgetRequest {
        BudgetRequest {
            is_claim: true,
            claim_bytes: (bytes != 0).then_some(bytes),
            ..self
        }
    }
}
