//! Names that the manifests and the cluster's objects use.

/// Namespace of tasks and claims, as in manifests/namespace.yaml.
pub const NAMESPACE: &str = "argo";
/// Name of the kind cluster that `up` makes by default.
pub const CLUSTER: &str = "hybrid-cache";
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
/// Label of every object that the kube driver creates.
pub const DRIVER_LABEL: &str = "app.kubernetes.io/managed-by=hybrid-cache";
/// Label of the pods of tasks.
pub const TASK_LABEL: &str = "app.kubernetes.io/managed-by=hybrid-cache,app.kubernetes.io/component=task";
/// StorageClass of the volumes that are folders of a kind node. There is no such object, so no provisioner creates these volumes.
pub const LOCAL_CLASS: &str = "hybrid-cache-local";
/// Name of the task service's Deployment, Service and claim, as in manifests/service.yaml.
pub const SERVICE: &str = "hybrid-cache-service";
/// Secret with the token of the task service.
pub const SERVICE_TOKEN: &str = "hybrid-cache-service-token";
/// Label of a standby pod that waits for a task, and of its ReplicaSet: the name of its pool.
pub const STANDBY_POOL: &str = "hybrid-cache.dev/standby";
/// Annotation of a standby pod that was claimed for a task.
pub const CLAIMED_UNTIL: &str = "hybrid-cache.dev/claimed-until";
