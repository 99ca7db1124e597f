//! Nodes, claims, volumes and pods as the API server reports them, reduced to what `up`, `status` and `doctor` need.

use std::collections::BTreeMap;

use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::quantity;
use serde::Serialize;
use serde_json::Value;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// Name of the node.
    pub name: String,
    /// True if the node accepts pods.
    pub ready: bool,
    /// The readiness condition that the node reports.
    pub condition: String,
    /// Version of the kubelet.
    pub version: String,
    /// Container runtime, such as `containerd://2.1.9`.
    pub runtime: String,
    /// Resources available to pods, in Kubernetes' notation: `cpu`, `memory`, `pods`.
    pub allocatable: BTreeMap<String, String>,
    /// Addresses of the node inside the cluster.
    pub addresses: Vec<String>,
    /// The ranges of the addresses of the node's pods, if Kubernetes assigns them.
    pub pod_ranges: Vec<String>,
    /// Labels of the node.
    #[serde(skip)]
    pub labels: BTreeMap<String, String>,
}

impl NodeFacts {
    /// Reads a Node.
    pub fn from_node(node: &Value) -> NodeFacts {
        let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Ready");
        let allocatable = node.pointer("/status/allocatable").and_then(Value::as_object);
        let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
        let internal = addresses
            .into_iter()
            .flatten()
            .filter(|address| address["type"] == "InternalIP");
        let ranges = node.pointer("/spec/podCIDRs").and_then(Value::as_array);
        NodeFacts {
            addresses: internal.map(|address| text(address, "/address")).collect(),
            pod_ranges: ranges
                .into_iter()
                .flatten()
                .filter_map(|range| Some(range.as_str()?.to_owned()))
                .collect(),
            name: text(node, "/metadata/name"),
            labels: labels(node),
            ready: ready.is_some_and(|condition| condition["status"] == "True"),
            condition: ready.map_or("it has not reported yet".to_owned(), |condition| {
                text(condition, "/message")
            }),
            version: text(node, "/status/nodeInfo/kubeletVersion"),
            runtime: text(node, "/status/nodeInfo/containerRuntimeVersion"),
            allocatable: allocatable
                .into_iter()
                .flatten()
                .filter(|(name, _)| ["cpu", "memory", "pods", "ephemeral-storage"].contains(&name.as_str()))
                .map(|(name, quantity)| (name.clone(), quantity.as_str().unwrap_or_default().to_owned()))
                .collect(),
        }
    }
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimFacts {
    /// Name of the claim.
    pub name: String,
    /// Uid of the claim: another claim of the same name has another uid.
    pub uid: String,
    /// `Bound`, `Pending` or `Lost`.
    pub phase: String,
    /// The requested size, in Kubernetes' notation.
    pub requested: String,
    /// The capacity, once the claim is Bound.
    pub capacity: Option<String>,
    /// The PersistentVolume that the claim is bound to.
    pub volume: Option<String>,
    /// StorageClass of the claim.
    pub storage_class: Option<String>,
    /// True if many nodes may mount the claim at the same time.
    #[serde(skip)]
    pub is_shared: bool,
}

impl ClaimFacts {
    /// Reads a PersistentVolumeClaim.
    pub fn from_claim(claim: &Value) -> ClaimFacts {
        let phase = text(claim, "/status/phase");
        let modes = claim.pointer("/spec/accessModes").and_then(Value::as_array);
        ClaimFacts {
            name: text(claim, "/metadata/name"),
            uid: text(claim, "/metadata/uid"),
            phase: if phase.is_empty() { "Pending".to_owned() } else { phase },
            requested: text(claim, "/spec/resources/requests/storage"),
            capacity: optional(claim, "/status/capacity/storage"),
            volume: optional(claim, "/spec/volumeName"),
            storage_class: optional(claim, "/spec/storageClassName"),
            is_shared: modes.into_iter().flatten().any(|mode| mode == "ReadWriteMany"),
        }
    }

    /// Capacity in bytes, or the requested size if the claim is not Bound; 0 if neither is a quantity.
    pub fn bytes(&self) -> u64 {
        quantity::bytes(self.capacity.as_ref().unwrap_or(&self.requested)).unwrap_or(0)
    }

    /// True if a pod can mount the claim.
    pub fn bound(&self) -> bool {
        self.phase == "Bound"
    }
}

/// A PersistentVolume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeFacts {
    /// Name of the volume.
    pub name: String,
    /// `Available`, `Bound`, `Released` or `Failed`.
    pub phase: String,
    /// The labels and values that its node must have: one of these terms, as a whole. Empty if any node will do.
    #[serde(skip)]
    pub terms: Vec<Vec<(String, Vec<String>)>>,
}

impl VolumeFacts {
    /// Reads a PersistentVolume.
    pub fn from_volume(volume: &Value) -> VolumeFacts {
        let terms = volume.pointer("/spec/nodeAffinity/required/nodeSelectorTerms");
        let terms = terms.and_then(Value::as_array).into_iter().flatten();
        VolumeFacts {
            name: text(volume, "/metadata/name"),
            phase: text(volume, "/status/phase"),
            terms: terms.map(term).collect(),
        }
    }

    /// True if a node with these labels can mount the volume.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |(key, values): &(String, Vec<String>)| labels.get(key).is_some_and(|value| values.contains(value));
        self.terms.is_empty() || self.terms.iter().any(|term| term.iter().all(has))
    }
}

/// A pod of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPod {
    /// Name of the pod.
    pub name: String,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub phase: String,
    /// Termination messages of the containers that have ended.
    pub messages: Vec<String>,
    /// Why the image of one of the containers is not available, in the kubelet's words.
    pub unpulled: Option<String>,
}

/// Reasons that a kubelet gives for an image that it could not pull and will not soon pull again.
const UNPULLED: [&str; 3] = ["ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"];

impl TaskPod {
    /// Reads a Pod.
    pub fn from_pod(pod: &Value) -> TaskPod {
        let containers = ["/status/initContainerStatuses", "/status/containerStatuses"];
        let statuses = containers
            .iter()
            .filter_map(|list| pod.pointer(list).and_then(Value::as_array));
        let unpulled = |status: &Value| {
            let reason =
                optional(status, "/state/waiting/reason").filter(|reason| UNPULLED.contains(&reason.as_str()))?;
            Some(optional(status, "/state/waiting/message").unwrap_or(reason))
        };
        TaskPod {
            name: text(pod, "/metadata/name"),
            labels: labels(pod),
            phase: text(pod, "/status/phase"),
            unpulled: statuses.clone().flatten().find_map(unpulled),
            messages: statuses
                .flatten()
                .filter_map(|status| optional(status, "/state/terminated/message"))
                .collect(),
        }
    }

    /// The runner's report, if the runner ran a task to its end.
    pub fn report(&self) -> Option<RunReport> {
        self.messages
            .iter()
            .rev()
            .find_map(|message| serde_json::from_str(message).ok())
    }
}

/// The labels that a term asks for; other operators than `In` are left to the scheduler.
fn term(term: &Value) -> Vec<(String, Vec<String>)> {
    let expressions = term["matchExpressions"].as_array().into_iter().flatten();
    let named = expressions.filter(|expression| expression["operator"] == "In");
    let values = |expression: &Value| {
        let values = expression["values"].as_array().into_iter().flatten();
        values.filter_map(|value| Some(value.as_str()?.to_owned())).collect()
    };
    named
        .map(|expression| (text(expression, "/key"), values(expression)))
        .collect()
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn text(object: &Value, pointer: &str) -> String {
    optional(object, pointer).unwrap_or_default()
}

fn optional(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}
