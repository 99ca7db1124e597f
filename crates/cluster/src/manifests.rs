//! The parsed files of `manifests/`, with the few changes that a machine or a cluster needs.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hybrid_cache_tools::{Checkout, Error, ErrorClass, ErrorContext, Result};
use serde_json::{Value, json};

use crate::names::{CERTIFICATES, NAMESPACE, SERVICE_TOKEN};
use crate::volume_sets::{self, NODE_LABEL};

/// The volumes' folder inside the node.
pub const NODE_FOLDER: &str = "/var/local/hybrid-cache";
/// Name of the ConfigMap with the setup record of a cluster.
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

/// The file with what our Workflows need if Argo Workflows is installed, and the file that installs it.
const ARGO_FILE: &str = "argo.yaml";
const ARGO_CONTROLLER_FILE: &str = "argo-controller.yaml";
/// Option of Argo's controller: the image of the container that Argo adds to a pod.
const EXECUTOR_IMAGE: &str = "--executor-image=";

/// The file with the task service.
const SERVICE_FILE: &str = "service.yaml";
/// Annotation of the service's pods: a hash of the driver's settings, so that other settings restart the pods.
const DRIVER_HASH: &str = "hybrid-cache.dev/driver";

/// Who provides the volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// Folders on the kind node.
    NodeFolders,
    /// A StorageClass of the cluster; `None` means the default class.
    StorageClass(Option<String>),
}

/// Sizes of the claims and of their volumes, in Kubernetes' notation; `None` keeps the manifest's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Size for Python environments.
    pub python: Option<String>,
    /// Size for system packages.
    pub system: Option<String>,
    /// Sizes that single claims have and keep, by the claims' names.
    pub kept: BTreeMap<String, String>,
}

impl Sizes {
    fn of_claim(&self, name: &str) -> Option<&String> {
        let set = volume_sets::set_of_claim(name)?;
        let [python, _] = volume_sets::claim_names(set);
        let of_all = if name == python { &self.python } else { &self.system };
        self.kept.get(name).or(of_all.as_ref())
    }

    /// Returns the object with its size set.
    fn fitted(&self, mut object: Value) -> Value {
        let (claim, size) = match object["kind"].as_str() {
            Some("PersistentVolume") => ("/spec/claimRef/name", "/spec/capacity/storage"),
            Some("PersistentVolumeClaim") => ("/metadata/name", "/spec/resources/requests/storage"),
            _ => return object,
        };
        let name = object.pointer(claim).and_then(Value::as_str).unwrap_or_default();
        if let Some(wanted) = self.of_claim(name).cloned()
            && let Some(place) = object.pointer_mut(size)
        {
            *place = json!(wanted);
        }
        object
    }
}

/// Every object that is applied, the namespace first, with the claims of one volume set.
///
/// # Errors
/// A file is missing or is not YAML.
pub fn objects(checkout: &Checkout, source: &VolumeSource, sizes: &Sizes) -> Result<Vec<Value>> {
    objects_of_sets(checkout, source, sizes, 1)
}

/// The same with the claims of so many volume sets, and with their volumes if the node's folders provide them.
///
/// # Errors
/// A file is missing or is not YAML.
pub fn objects_of_sets(checkout: &Checkout, source: &VolumeSource, sizes: &Sizes, sets: u32) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for file in FILES {
        let path = checkout.path("manifests").join(file);
        let read = read(&path)?.into_iter();
        let found = read.filter_map(|object| fitted(object, source)).collect();
        let found = volume_sets::with_sets(found, sets).into_iter();
        objects.extend(found.map(|object| sizes.fitted(object)));
    }
    Ok(objects)
}

/// What our Workflows need if Argo Workflows is installed.
///
/// # Errors
/// The file is missing or is not YAML.
pub fn argo(checkout: &Checkout) -> Result<Vec<Value>> {
    read(&checkout.path("manifests").join(ARGO_FILE))
}

/// The objects of Argo Workflows itself.
///
/// # Errors
/// The file is missing or is not YAML.
pub fn argo_controller(checkout: &Checkout) -> Result<Vec<Value>> {
    read(&checkout.path("manifests").join(ARGO_CONTROLLER_FILE))
}

/// The images of Argo Workflows: the controller's, and that of the container that Argo adds to a pod.
pub fn argo_images(controller: &[Value]) -> Vec<String> {
    let deployments = controller.iter().filter(|object| object["kind"] == "Deployment");
    let containers = deployments.filter_map(|object| object.pointer("/spec/template/spec/containers/0"));
    let images = containers.flat_map(|container| {
        let arguments = container["args"].as_array().into_iter().flatten();
        let executor = arguments.filter_map(|argument| argument.as_str()?.strip_prefix(EXECUTOR_IMAGE));
        container["image"].as_str().into_iter().chain(executor)
    });
    images.map(str::to_owned).collect()
}

/// The objects of the task service with an image and with its driver's settings.
///
/// # Errors
/// The file is missing, is not YAML, or has another structure than expected.
pub fn service(checkout: &Checkout, source: &VolumeSource, image: &str, driver: &[u8]) -> Result<Vec<Value>> {
    let path = checkout.path("manifests").join(SERVICE_FILE);
    let mut objects: Vec<_> = read(&path)?
        .into_iter()
        .filter_map(|object| fitted(object, source))
        .collect();
    let of_kind = |kind: &str| {
        let place = objects.iter().position(|object| object["kind"] == kind);
        place.with_context(|| format!("{} has no {kind}", path.display()))
    };
    let (secret, deployment) = (of_kind("Secret")?, of_kind("Deployment")?);
    let secret = &mut objects[secret];
    // The server returns text as base64. Encode it here too, so that an unchanged object compares as equal.
    secret.as_object_mut().map(|secret| secret.remove("stringData"));
    secret["data"] = json!({"driver.json": BASE64_STANDARD.encode(driver)});
    let template = &mut objects[deployment]["spec"]["template"];
    template["metadata"]["annotations"] = json!({DRIVER_HASH: &blake3::hash(driver).to_hex()[..16]});
    template["spec"]["containers"][0]["image"] = json!(image);
    Ok(objects)
}

/// The Secret with the token that clients of the service must send. It is never applied if one exists.
pub fn service_token(token: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": SERVICE_TOKEN,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/part-of": "hybrid-cache"},
        },
        "stringData": {"token": token},
    })
}

fn read(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_yaml::from_multiple(&text)
        .map_err(|error| Error::other(ErrorClass::Failed, error))
        .with_context(|| format!("reading {}", path.display()))
}

/// Returns the object as this source of volumes needs it; `None` if the source does not need the object.
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

/// Returns the object with another namespace than the manifests'.
pub fn in_namespace(mut object: Value, namespace: &str) -> Value {
    let place = |value: Option<&mut Value>| {
        if let Some(value) = value.filter(|value| **value == NAMESPACE) {
            *value = json!(namespace);
        }
    };
    if object["kind"] == "Namespace" {
        place(object.pointer_mut("/metadata/name"));
    }
    for pointer in ["/metadata/namespace", "/spec/claimRef/namespace"] {
        place(object.pointer_mut(pointer));
    }
    let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        place(subject.get_mut("namespace"));
    }
    object
}

/// The ConfigMap with the certificates that this machine trusts, so that pods trust them too.
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

/// The ConfigMap that records one-time setup.
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

/// kind's configuration for a cluster of this name with its volumes in this folder of the machine. With workers, each of them mounts
/// the folders of one set, and the control plane mounts none: kind keeps other pods away from it.
///
/// # Errors
/// The file is missing or has another structure than expected.
pub fn kind_config(checkout: &Checkout, name: &str, volumes: &Path, workers: u32) -> Result<Value> {
    let path = checkout.path("manifests/kind-cluster.yaml");
    let mut documents = read(&path)?;
    let mut config = documents
        .pop()
        .with_context(|| format!("{} is empty", path.display()))?;
    config["name"] = json!(name);
    let node = config["nodes"][0].take();
    let with_set = |set: u32| {
        let folder = volume_sets::folder(volumes, set);
        let node = with_folder(node.clone(), set, &folder)?;
        node.with_context(|| format!("{} has no mount at {NODE_FOLDER}", path.display()))
    };
    let nodes: Vec<Value> = match workers {
        0 => vec![with_set(0)?],
        workers => {
            let worker = |set| {
                let mut worker = with_set(set)?;
                worker["role"] = json!("worker");
                Ok(worker)
            };
            let workers: Result<Vec<Value>> = (0..workers).map(worker).collect();
            [vec![without_folder(node.clone())], workers?].concat()
        }
    };
    config["nodes"] = json!(nodes);
    Ok(config)
}

/// The node with the folder of a set; `None` if it mounts no folder of ours.
fn with_folder(mut node: Value, set: u32, folder: &Path) -> Result<Option<Value>> {
    let folder = folder
        .to_str()
        .with_context(|| format!("the path {} is not valid UTF-8", folder.display()))?;
    node["labels"][NODE_LABEL] = json!(volume_sets::node_value(set));
    let mounts = node["extraMounts"].as_array_mut();
    let mount = mounts.and_then(|mounts| mounts.iter_mut().find(|mount| mount["containerPath"] == NODE_FOLDER));
    let Some(mount) = mount else { return Ok(None) };
    mount["hostPath"] = json!(folder);
    Ok(Some(node))
}

fn without_folder(mut node: Value) -> Value {
    if let Some(labels) = node["labels"].as_object_mut() {
        labels.remove(NODE_LABEL);
    }
    if let Some(mounts) = node["extraMounts"].as_array_mut() {
        mounts.retain(|mount| mount["containerPath"] != NODE_FOLDER);
    }
    node
}

#[cfg(test)]
mod tests;
