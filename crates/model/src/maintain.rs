//! Maintenance of the volumes between tasks: measuring usage, evicting, and verifying content.
//!
//! `runner usage`, `runner contents`, `runner gc` and `runner verify` read one [`MaintainRequest`] and answer with one [`MaintainReport`].

use serde::{Deserialize, Serialize};

use crate::budget::{Budgets, FileSystemUsage};
use crate::contents::Contents;
use crate::outcome::Failure;
use crate::protocol::{PythonTools, SystemTools};

/// Which volumes to look after, and with which tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintainRequest {
    /// Mount point of the Python volume; absent: leave it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// Mount point of the Nix folder of the system volume; absent: leave it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nix: Option<String>,
    /// uv, for pruning its cache; without it that cache is only measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python_tools: Option<PythonTools>,
    /// Nix, for its own garbage collector; without it the store is only measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_tools: Option<SystemTools>,
    /// For `gc`: how much each volume may keep.
    #[serde(default)]
    pub budgets: Budgets,
    /// For `verify`: set aside what is damaged, so that the next run builds it again.
    #[serde(default)]
    pub repair: bool,
    /// Milliseconds until it gives up.
    pub deadline_ms: u64,
}

/// The answer to a [`MaintainRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub enum MaintainReport {
    /// To `usage`.
    Usage(UsageReport),
    /// To `contents`.
    Contents(Contents),
    /// To `gc`.
    Gc(GcReport),
    /// To `verify`.
    Verify(VerifyReport),
    /// It could not be done.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// What one part of a volume takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerUsage {
    /// `python/envs`, `python/bytecode`, `python/uv`, `python/staging`, `python/trash`, `python/locks`, `python/other`,
    /// `system/store`…
    pub layer: String,
    /// Allocated bytes (blocks times 512). A file with several names counts once, for the first layer in the list.
    pub bytes: u64,
    /// Inodes, counted likewise.
    pub inodes: u64,
    /// Directory entries, every name of a file counted.
    pub entries: u64,
}

/// What a volume holds, and how much of it no environment needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GarbageUsage {
    /// `python` or `system`.
    pub volume: String,
    /// Allocated bytes that no environment needs: unused downloads and bytecode, unreferenced store paths, leftovers. Downloads
    /// make the next environment with the same packages quicker; eviction takes all of it before it takes an environment.
    pub bytes: u64,
    /// Inodes likewise.
    pub inodes: u64,
}

/// An environment, or a set of system packages, as it counts on its volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentUsage {
    /// Its path, relative to the volume.
    pub path: String,
    /// `python` or `system`.
    pub volume: String,
    /// What is in it, the first few names: `numpy==2.4.1`, `gcc`.
    pub packages: Vec<String>,
    /// How many more there are.
    pub more_packages: u64,
    /// Allocated bytes of all that it needs, parts that it shares included.
    pub bytes: u64,
    /// Inodes likewise.
    pub inodes: u64,
    /// Allocated bytes that evicting it alone would free.
    pub frees_bytes: u64,
    /// Inodes likewise.
    pub frees_inodes: u64,
    /// When it was last used as far as is known, in seconds since 1970.
    pub used_s: u64,
}

/// What the volumes hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// The parts, in the order in which shared files were counted.
    pub layers: Vec<LayerUsage>,
    /// The file systems below them.
    pub file_systems: Vec<FileSystemUsage>,
    /// Published Python environments.
    pub environments: u64,
    /// Requests that point to them.
    pub requests: u64,
    /// Sets of system packages in the index.
    pub system_sets: u64,
    /// Environments that a lookup found damaged, and a preparation built again.
    #[serde(default)]
    pub healed: u64,
    /// What no environment needs, for each volume.
    #[serde(default)]
    pub garbage: Vec<GarbageUsage>,
    /// The environments and sets whose eviction would free most, those first.
    #[serde(default)]
    pub largest: Vec<EnvironmentUsage>,
}

impl UsageReport {
    /// What no environment of a volume needs; `None` if that was not found out.
    pub fn garbage_of(&self, volume: &str) -> Option<&GarbageUsage> {
        self.garbage.iter().find(|garbage| garbage.volume == volume)
    }

    /// Bytes of all layers of one volume (`python`, `system`).
    pub fn volume_bytes(&self, volume: &str) -> u64 {
        self.layers_of(volume).map(|layer| layer.bytes).sum()
    }

    /// Inodes of all layers of one volume.
    pub fn volume_inodes(&self, volume: &str) -> u64 {
        self.layers_of(volume).map(|layer| layer.inodes).sum()
    }

    fn layers_of<'a>(&'a self, volume: &'a str) -> impl Iterator<Item = &'a LayerUsage> {
        self.layers
            .iter()
            .filter(move |layer| layer.layer.split('/').next() == Some(volume))
    }

    /// Adds what was found on another volume.
    pub fn add(&mut self, other: UsageReport) {
        self.layers.extend(other.layers);
        self.file_systems.extend(other.file_systems);
        self.environments += other.environments;
        self.requests += other.requests;
        self.system_sets += other.system_sets;
        self.healed += other.healed;
        self.garbage.extend(other.garbage);
        self.largest.extend(other.largest);
        self.largest.sort_by_key(|one| std::cmp::Reverse(one.frees_bytes));
    }
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    /// Python environments that had to go.
    pub evicted_environments: u64,
    /// Sets of system packages that had to go.
    pub evicted_system_sets: u64,
    /// Environments and sets that would have gone, but are in use.
    pub kept_in_use: u64,
    /// Leftovers of killed preparations.
    pub swept: u64,
    /// Requests that pointed to nothing.
    pub dangling_requests: u64,
    /// Bytecode and unpacked wheels that no environment shared any more.
    pub orphans: u64,
    /// Allocated bytes that were freed.
    pub freed_bytes: u64,
    /// Inodes that were freed.
    pub freed_inodes: u64,
    /// True if a volume is still over its budget.
    pub over_budget: bool,
    /// What could not be done, without harm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl GcReport {
    /// Adds what was removed from another volume.
    pub fn add(&mut self, other: GcReport) {
        self.evicted_environments += other.evicted_environments;
        self.evicted_system_sets += other.evicted_system_sets;
        self.kept_in_use += other.kept_in_use;
        self.swept += other.swept;
        self.dangling_requests += other.dangling_requests;
        self.orphans += other.orphans;
        self.freed_bytes += other.freed_bytes;
        self.freed_inodes += other.freed_inodes;
        self.over_budget |= other.over_budget;
        self.warnings.extend(other.warnings);
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where, relative to the volume.
    pub path: String,
    /// What, in lower case.
    pub what: String,
}

/// Whether the volumes are whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Python environments that were looked at.
    pub environments: u64,
    /// Files of environments, bytecode and store paths whose content was compared with what was published.
    pub files: u64,
    /// Inodes that were read for that; a file that several environments share is read once.
    #[serde(default)]
    pub inodes: u64,
    /// Bytes of those.
    #[serde(default)]
    pub bytes: u64,
    /// Sets of system packages that were looked at.
    pub system_sets: u64,
    /// Store paths without a hash of ours to compare them with: registered, and not yet hashed.
    #[serde(default)]
    pub unhashed: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What killed processes left: it takes space, harms nothing, and goes by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_overs: Vec<Problem>,
    /// What a repair did: each line names what was set aside, or marked because a task uses it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repaired: Vec<String>,
}

impl VerifyReport {
    /// True if nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Adds what was found on another volume.
    pub fn add(&mut self, other: VerifyReport) {
        self.environments += other.environments;
        self.files += other.files;
        self.inodes += other.inodes;
        self.bytes += other.bytes;
        self.system_sets += other.system_sets;
        self.unhashed += other.unhashed;
        self.problems.extend(other.problems);
        self.left_overs.extend(other.left_overs);
        self.repaired.extend(other.repaired);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_the_sum_of_its_layers() {
        let layer = |name: &str, bytes| LayerUsage {
            layer: name.to_owned(),
            bytes,
            inodes: 1,
            entries: 2,
        };
        let mut report = UsageReport {
            layers: vec![layer("python/envs", 1), layer("python/uv", 2)],
            ..Default::default()
        };
        report.add(UsageReport {
            layers: vec![layer("system/store", 4)],
            ..Default::default()
        });
        assert_eq!((report.volume_bytes("python"), report.volume_inodes("python")), (3, 2));
        assert_eq!(report.volume_bytes("system"), 4);
    }

    #[test]
    fn a_report_survives_its_wire_form() {
        let report = MaintainReport::Gc(GcReport {
            freed_bytes: 7,
            ..GcReport::default()
        });
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.contains(r#""report":"gc""#), "{text}");
        assert_eq!(serde_json::from_str::<MaintainReport>(&text).unwrap(), report);
    }
}
