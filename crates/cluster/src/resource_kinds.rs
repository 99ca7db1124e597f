//! The kinds of objects that we put into a cluster, listed here so that no request for a server's kinds is needed.

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceKind {
    /// Name of the kind, as in objects.
    pub name: &'static str,
    /// API group; empty for Kubernetes' core.
    pub group: &'static str,
    /// Version of the group.
    pub version: &'static str,
    /// Plural name, as in request paths.
    pub plural: &'static str,
    /// True if the kind's objects are in namespaces.
    pub namespaced: bool,
}

impl ResourceKind {
    /// API version, such as `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }
}

/// Argo's own kind, which a cluster may lack.
pub const WORKFLOW: ResourceKind = kind("argoproj.io", "v1alpha1", "Workflow", "workflows");
/// A range of addresses of Services, from Kubernetes 1.33 on.
pub const SERVICE_RANGE: ResourceKind = everywhere(kind("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs"));
/// The pod that runs a task.
pub const POD: ResourceKind = kind("", "v1", "Pod", "pods");
/// The Job that the kube driver creates for a task.
pub const JOB: ResourceKind = kind("batch", "v1", "Job", "jobs");
/// What makes standby pods.
pub const REPLICA_SET: ResourceKind = kind("apps", "v1", "ReplicaSet", "replicasets");

/// What provides volumes.
pub const STORAGE_CLASS: ResourceKind = everywhere(kind("storage.k8s.io", "v1", "StorageClass", "storageclasses"));
/// Bounds of a namespace.
pub const RESOURCE_QUOTA: ResourceKind = kind("", "v1", "ResourceQuota", "resourcequotas");

const RBAC: &str = "rbac.authorization.k8s.io";

const KINDS: [ResourceKind; 18] = [
    WORKFLOW,
    kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    everywhere(kind(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    )),
    everywhere(kind("", "v1", "Namespace", "namespaces")),
    everywhere(kind("", "v1", "PersistentVolume", "persistentvolumes")),
    kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    kind("", "v1", "ConfigMap", "configmaps"),
    kind("", "v1", "LimitRange", "limitranges"),
    RESOURCE_QUOTA,
    kind("", "v1", "Secret", "secrets"),
    kind("", "v1", "Service", "services"),
    kind("", "v1", "ServiceAccount", "serviceaccounts"),
    kind("apps", "v1", "Deployment", "deployments"),
    kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    kind(RBAC, "v1", "Role", "roles"),
    kind(RBAC, "v1", "RoleBinding", "rolebindings"),
    JOB,
];

const fn kind(group: &'static str, version: &'static str, name: &'static str, plural: &'static str) -> ResourceKind {
    ResourceKind {
        name,
        group,
        version,
        plural,
        namespaced: true,
    }
}

const fn everywhere(kind: ResourceKind) -> ResourceKind {
    ResourceKind {
        namespaced: false,
        ..kind
    }
}

/// The kind with a name; `None` if it is not listed here.
pub fn by_name(name: &str) -> Option<ResourceKind> {
    KINDS.into_iter().find(|kind| kind.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_versions_are_written_as_objects_write_them() {
        let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
        assert_eq!(by_name("Secret").unwrap().api_version(), "v1");
        assert_eq!(by_name("Workflow").unwrap().api_version(), "argoproj.io/v1alpha1");
        assert!(!by_name("PersistentVolume").unwrap().namespaced);
        assert_eq!(by_name("Pod"), None);
    }
}
