//! StorageClasses, and what their volumes can do.

use serde_json::Value;

/// Annotation of the class that a claim without a class gets.
const DEFAULT_CLASS: &str = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
/// Parts of the names of provisioners whose volumes are on one node for good.
const LOCAL: [&str; 7] = [
    "local-path",
    "no-provisioner",
    "hostpath",
    "local.csi",
    "/local",
    "topolvm",
    "lvm",
];
/// Parts of the names of provisioners whose volumes are file systems of a network, which many nodes mount at the same time.
const SHARED: [&str; 9] = [
    "nfs",
    "efs.csi",
    "cephfs",
    "file.csi",
    "azure-file",
    "filestore",
    "glusterfs",
    "smb",
    "lustre",
];

/// A StorageClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageClassFacts {
    /// Name of the class.
    pub name: String,
    /// What creates its volumes.
    pub provisioner: String,
    /// True if a volume is created only for the first pod that mounts its claim.
    pub waits_for_pods: bool,
    /// True if a claim without a class gets this one.
    pub is_default: bool,
}

impl StorageClassFacts {
    /// Reads a StorageClass.
    pub fn from_class(class: &Value) -> StorageClassFacts {
        let text = |pointer: &str| {
            let found = class.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        StorageClassFacts {
            name: text("/metadata/name"),
            provisioner: text("/provisioner"),
            waits_for_pods: text("/volumeBindingMode") == "WaitForFirstConsumer",
            is_default: text(DEFAULT_CLASS) == "true",
        }
    }

    /// True if a volume attaches to the node of the pod that mounts it: block storage that is not on one node for good.
    pub fn follows_pods(&self) -> bool {
        self.waits_for_pods && !self.is_one_of(&LOCAL) && !self.is_shared()
    }

    /// True if all nodes mount a volume at the same time.
    pub fn is_shared(&self) -> bool {
        self.is_one_of(&SHARED)
    }

    fn is_one_of(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.provisioner.contains(part))
    }
}

/// The class of a name, or the default class.
pub fn class_of<'a>(classes: &'a [StorageClassFacts], name: Option<&str>) -> Option<&'a StorageClassFacts> {
    classes.iter().find(|class| match name {
        Some(name) => class.name == name,
        None => class.is_default,
    })
}
