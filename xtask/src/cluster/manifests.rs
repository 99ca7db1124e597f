//! The files of `manifests/`, parsed, with the few changes that a machine or a cluster asks for.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{CERTIFICATES, NAMESPACE};
use crate::checkout::Checkout;

/// StorageClass of the volumes that are folders of a kind node. No such object exists: nothing provides them.
pub const LOCAL_CLASS: &str = "hybrid-cache-local";
/// Where the volumes' folder is inside the node.
pub const NODE_FOLDER: &str = "/var/local/hybrid-cache";
/// What is remembered of a cluster.
pub const STATE: &str = "hybrid-cache-state";
/// The volumes' folders, in the order of the claims.
pub const FOLDERS: [&str; 2] = ["python", "system"];

/// The files with objects, in the order in which they are applied.
const FILES: [&str; 6] = [
    "namespace.yaml",
    "pv-cache-volumes.yaml",
    "pvc-cache-volumes.yaml",
    "rbac.yaml",
    "network-policy.yaml",
    "resource-quota.yaml",
];

/// Who provides the volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// Folders of the kind node.
    NodeFolders,
    /// A StorageClass of the cluster; none: its default class.
    StorageClass(Option<String>),
}

/// Everything that is applied, the namespace first.
///
/// # Errors
/// A file is missing or no YAML.
pub fn objects(checkout: &Checkout, source: &VolumeSource) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for file in FILES {
        let path = checkout.path("manifests").join(file);
        objects.extend(read(&path)?.into_iter().filter_map(|object| fitted(object, source)));
    }
    Ok(objects)
}

fn read(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_yaml::from_multiple(&text).with_context(|| format!("reading {}", path.display()))
}

/// The object as this source of volumes wants it; none where it is not wanted at all.
fn fitted(mut object: Value, source: &VolumeSource) -> Option<Value> {
    let VolumeSource::StorageClass(class) = source else {
        return Some(object);
    };
    match object["kind"].as_str() {
        Some("PersistentVolume") => return None,
        Some("PersistentVolumeClaim") => {
            let spec = object.get_mut("spec").and_then(Value::as_object_mut)?;
            match class {
                Some(name) => spec.insert("storageClassName".into(), json!(name)),
                None => spec.remove("storageClassName"),
            };
        }
        _ => {}
    }
    Some(object)
}

/// The ConfigMap that makes pods trust what this machine trusts.
pub fn certificates(bundle: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": CERTIFICATES,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/part-of": "hybrid-cache"},
        },
        "data": {"ca-certificates.crt": bundle},
    })
}

/// The ConfigMap that remembers what was done once.
pub fn state(data: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": STATE,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/part-of": "hybrid-cache"},
        },
        "data": data,
    })
}

/// kind's file for a cluster of this name with its volumes in this folder of the machine.
///
/// # Errors
/// The file is missing, or not as it was.
pub fn kind_config(checkout: &Checkout, name: &str, volumes: &Path) -> Result<Value> {
    let path = checkout.path("manifests/kind-cluster.yaml");
    let mut documents = read(&path)?;
    let mut config = documents
        .pop()
        .with_context(|| format!("{} is empty", path.display()))?;
    config["name"] = json!(name);
    let folder = volumes
        .to_str()
        .with_context(|| format!("{} is no UTF-8 path", volumes.display()))?;
    let nodes = config.get_mut("nodes").and_then(Value::as_array_mut);
    let mut mounts = nodes
        .into_iter()
        .flatten()
        .filter_map(|node| node.get_mut("extraMounts")?.as_array_mut())
        .flatten()
        .filter(|mount| mount["containerPath"] == NODE_FOLDER);
    let mount = mounts
        .next()
        .with_context(|| format!("{} mounts nothing at {NODE_FOLDER}", path.display()))?;
    mount["hostPath"] = json!(folder);
    Ok(config)
}

#[cfg(test)]
mod tests;
