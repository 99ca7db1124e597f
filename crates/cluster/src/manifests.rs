//! The files of `manifests/`, parsed, with the few changes that a machine or a cluster asks for.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hybrid_cache_tools::{Checkout, Error, ErrorClass, ErrorContext, Result};
use serde_json::{Value, json};

use crate::names::{CERTIFICATES, NAMESPACE, NIX_CLAIM, PYTHON_CLAIM, SERVICE_TOKEN};

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

/// The file with what our Workflows need where there is Argo Workflows, and the one that makes it be there.
const ARGO_FILE: &str = "argo.yaml";
const ARGO_CONTROLLER_FILE: &str = "argo-controller.yaml";
/// Tells Argo's controller the image that it puts beside a program.
const EXECUTOR_IMAGE: &str = "--executor-image=";

/// The file with the task service.
const SERVICE_FILE: &str = "service.yaml";
/// Annotation of the service's pods: a hash of what its driver is told, so that another one starts them anew.
const DRIVER_HASH: &str = "hybrid-cache.dev/driver";

/// Who provides the volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// Folders of the kind node.
    NodeFolders,
    /// A StorageClass of the cluster; none: its default class.
    StorageClass(Option<String>),
}

/// Sizes of the claims in Kubernetes' notation, and of the volumes for them; none: as in the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// For Python environments.
    pub python: Option<String>,
    /// For system packages.
    pub system: Option<String>,
}

impl Sizes {
    fn of_claim(&self, name: &str) -> Option<&String> {
        match name {
            PYTHON_CLAIM => self.python.as_ref(),
            NIX_CLAIM => self.system.as_ref(),
            _ => None,
        }
    }

    /// The object with its size in place.
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

/// Everything that is applied, the namespace first.
///
/// # Errors
/// A file is missing or no YAML.
pub fn objects(checkout: &Checkout, source: &VolumeSource, sizes: &Sizes) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for file in FILES {
        let path = checkout.path("manifests").join(file);
        let read = read(&path)?.into_iter();
        let found = read.filter_map(|object| fitted(object, source));
        objects.extend(found.map(|object| sizes.fitted(object)));
    }
    Ok(objects)
}

/// What our Workflows need where there is Argo Workflows.
///
/// # Errors
/// The file is missing or no YAML.
pub fn argo(checkout: &Checkout) -> Result<Vec<Value>> {
    read(&checkout.path("manifests").join(ARGO_FILE))
}

/// Argo Workflows itself.
///
/// # Errors
/// The file is missing or no YAML.
pub fn argo_controller(checkout: &Checkout) -> Result<Vec<Value>> {
    read(&checkout.path("manifests").join(ARGO_CONTROLLER_FILE))
}

/// The images that it runs in: the controller's, and the one that it puts beside a program.
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

/// The task service with an image, and what its driver is told.
///
/// # Errors
/// The file is missing, no YAML, or not as it was.
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
    // What is written as text comes back encoded: only so can one see that nothing has changed.
    secret.as_object_mut().map(|secret| secret.remove("stringData"));
    secret["data"] = json!({"driver.json": BASE64_STANDARD.encode(driver)});
    let template = &mut objects[deployment]["spec"]["template"];
    template["metadata"]["annotations"] = json!({DRIVER_HASH: &blake3::hash(driver).to_hex()[..16]});
    template["spec"]["containers"][0]["image"] = json!(image);
    Ok(objects)
}

/// The Secret with the token that the service's clients must send. Never applied where there is one.
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

/// The object as it is in another namespace than the manifests'.
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
