//! A cluster of our own: made, looked at, taken down.

pub mod api;
pub mod argo;
pub mod certificates;
pub mod compose;
pub mod contents;
pub mod down;
pub mod facts;
pub mod inside;
pub mod kind;
pub mod kinds;
pub mod making;
pub mod manifests;
pub mod namespace;
pub mod node;
pub mod node_archive;
pub mod objects;
pub mod place;
pub mod plan;
pub mod ranges;
pub mod rollout;
pub mod runtime;
pub mod service;
pub mod state;
pub mod status;
pub mod talk;
pub mod task_image;
pub mod trial;
pub mod up;

/// Namespace of tasks and claims, as in manifests/namespace.yaml.
pub const NAMESPACE: &str = "argo";
/// PersistentVolumeClaim of the Python volume, as in manifests/pvc-cache-volumes.yaml.
pub const PYTHON_CLAIM: &str = "uv-cache-pvc";
/// PersistentVolumeClaim of the system volume.
pub const NIX_CLAIM: &str = "nix-store-pvc";
/// ServiceAccount of a task's pod, as in manifests/rbac.yaml.
pub const TASK_ACCOUNT: &str = "hybrid-cache-task";
/// ServiceAccount of the container that Argo adds to a task's pod.
pub const EXECUTOR_ACCOUNT: &str = "hybrid-cache-executor";
/// ConfigMap with the certificates that this machine trusts.
pub const CERTIFICATES: &str = "hybrid-cache-certificates";
/// User and group of every container, and owner of the volumes' folders.
pub const OWNER: u32 = 10001;
/// Label of everything the kube driver makes.
pub const DRIVER_LABEL: &str = "app.kubernetes.io/managed-by=hybrid-cache";
/// Label of the pods of tasks.
pub const TASK_LABEL: &str = "app.kubernetes.io/managed-by=hybrid-cache,app.kubernetes.io/component=task";
