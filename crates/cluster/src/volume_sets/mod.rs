//! Volume sets: each is a pair of claims with its budget. Set 0 is the pair of `manifests/`; further sets are rendered from it.
//!
//! On a kind cluster the volumes are folders of this machine. Each worker node mounts the folders of one set, so that no two sets
//! share a node; without workers the one node has set 0. On other clusters a StorageClass decides where the volumes are.

mod check;
mod classes;
mod found;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::names::{NIX_CLAIM, PYTHON_CLAIM};

pub use check::{check, check_nodes, quota_faults, warning};
pub use classes::{StorageClassFacts, class_of};
pub use found::{Pair, claims_beyond, driver_sets, nodes_of, pairs};

/// Most volume sets of a cluster.
pub const MAX_SETS: u32 = 64;
/// Most worker nodes of a kind cluster: each is a container with a kubelet, which needs about half a gibibyte of memory.
pub const MAX_WORKERS: u32 = 32;
/// Label of everything that belongs to one set; its value is the set's name.
pub const SET_LABEL: &str = "hybrid-cache.dev/set";
/// Label of the kind node that mounts a set's folders, as in manifests/kind-cluster.yaml.
pub const NODE_LABEL: &str = "hybrid-cache.dev/volumes";
/// The values in the node affinity of a PersistentVolume.
const AFFINITY: &str = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values";

/// The name of a set's object, from the name of set 0's.
pub fn named(name: &str, set: u32) -> String {
    match set {
        0 => name.to_owned(),
        set => format!("{name}-{set}"),
    }
}

/// The claims of a set: for Python environments, and for system packages.
pub fn claim_names(set: u32) -> [String; 2] {
    [PYTHON_CLAIM, NIX_CLAIM].map(|name| named(name, set))
}

/// The set to which a claim belongs, by its name; `None` if it is no claim of ours.
pub fn set_of_claim(name: &str) -> Option<u32> {
    let after = [PYTHON_CLAIM, NIX_CLAIM]
        .iter()
        .find_map(|claim| name.strip_prefix(claim))?;
    match after.strip_prefix('-') {
        None => after.is_empty().then_some(0),
        Some(number) => number.parse().ok().filter(|set| named("", *set) == after),
    }
}

/// The folder of this machine for a set's volumes. `volumes` is that of the cluster.
pub fn folder(volumes: &Path, set: u32) -> PathBuf {
    match set {
        0 => volumes.to_owned(),
        set => volumes.join(folder_name(set)),
    }
}

fn folder_name(set: u32) -> String {
    format!("set-{set}")
}

/// The sets that have a folder below `volumes`, set 0 first. An earlier cluster may have had more nodes.
pub fn sets_on_disk(volumes: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(volumes).into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let set = name.to_str()?.strip_prefix("set-")?.parse().ok()?;
        (set > 0 && folder_name(set) == name.to_str()?).then_some(set)
    };
    let mut sets: Vec<u32> = entries.filter_map(number).collect();
    sets.push(0);
    sets.sort_unstable();
    sets
}

/// The value of [`NODE_LABEL`] on the node that mounts a set's folders. Set 0 has the one of the manifests.
pub fn node_value(set: u32) -> String {
    match set {
        0 => "true".to_owned(),
        set => folder_name(set),
    }
}

/// The objects together with those of the further sets.
pub fn with_sets(objects: Vec<Value>, sets: u32) -> Vec<Value> {
    let further = |object: &Value| (1..sets).filter_map(|set| copy(object, set)).collect::<Vec<_>>();
    objects
        .into_iter()
        .flat_map(|object| {
            let copies = further(&object);
            std::iter::once(object).chain(copies)
        })
        .collect()
}

/// The same object for another set; `None` if the object is not of one set.
fn copy(object: &Value, set: u32) -> Option<Value> {
    let claim = match object["kind"].as_str()? {
        "PersistentVolume" => "/spec/claimRef/name",
        "PersistentVolumeClaim" => "/metadata/name",
        _ => return None,
    };
    if set_of_claim(object.pointer(claim)?.as_str()?) != Some(0) {
        return None;
    }
    let mut copy = object.clone();
    for pointer in ["/metadata/name", "/spec/claimRef/name"] {
        if let Some(name) = copy.pointer_mut(pointer) {
            *name = json!(named(name.as_str()?, set));
        }
    }
    if let Some(values) = copy.pointer_mut(AFFINITY) {
        *values = json!([node_value(set)]);
    }
    copy["metadata"]["labels"][SET_LABEL] = json!(set.to_string());
    Some(copy)
}

#[cfg(test)]
mod tests;
