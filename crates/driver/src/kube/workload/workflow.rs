//! A workload as an Argo Workflow: the same pod as a Job's, as a container set of one template.
//!
//! Argo adds two containers that run its program argoexec. `init` copies that program into the pod, where it starts each
//! container's command as its child. `wait` reports to the controller, with the rights of a service account of its own,
//! whose token no other container has.
//!
//! In a container set, every container runs to its own end. A sidecar would be killed with the task, while it still
//! publishes what it prepared.

use std::collections::HashMap;

use hybrid_cache_model::Failure;
use hybrid_cache_model::pod::RUNNER_FILE;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, GroupVersionKind, Object};
use kube::core::TypeMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kube::config::Argo;
use crate::kube::pod::containers;
use crate::kube::workload::frame::WorkloadFrame;
use crate::kube::workload::kind::ARGO_API_VERSION;
use crate::kube::workload::state::{WorkloadObject, WorkloadState};

/// The name of the only template.
const TEMPLATE: &str = "task";
/// Argo's own containers: one starts before the task's containers, one stays beside them.
const INIT_CONTAINER: &str = "init";
const WAIT_CONTAINER: &str = "wait";

/// A Workflow. The driver reads nothing of its specification back.
pub type Workflow = Object<Value, Status>;

/// What the controller reports of a Workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Error`; empty before the controller has seen the Workflow.
    #[serde(default)]
    pub phase: String,
    /// Why, if something is wrong.
    #[serde(default)]
    pub message: String,
    /// The states of the pod and its containers, by node id.
    #[serde(default)]
    pub nodes: HashMap<String, Node>,
}

/// The state of a pod or a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `Pod` or `Container`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// As the phase of the Workflow.
    #[serde(default)]
    pub phase: String,
    /// What it waits for, or why it ended.
    #[serde(default)]
    pub message: String,
}

/// The API resource of Workflows.
pub fn resource() -> ApiResource {
    let (group, version) = ARGO_API_VERSION.split_once('/').unwrap_or_default();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, "Workflow"), "workflows")
}

impl WorkloadObject for Workflow {
    fn state(&self) -> WorkloadState {
        if self.metadata.deletion_timestamp.is_some() {
            return WorkloadState::Gone;
        }
        let status = self.status.clone().unwrap_or_default();
        match status.phase.as_str() {
            "Succeeded" => WorkloadState::Complete,
            "Failed" | "Error" => WorkloadState::Failed {
                reason: status.phase,
                message: status.message,
            },
            _ => WorkloadState::Active,
        }
    }

    /// If a quota refuses the pod, the controller retries, and the node shows the reason meanwhile.
    fn pod_refusal(&self) -> Option<String> {
        let nodes = self.status.as_ref()?.nodes.values();
        let mut said = nodes.filter(|node| node.kind == "Pod" && matches!(node.phase.as_str(), "Pending" | "Error"));
        said.find(|node| !node.message.is_empty())
            .map(|node| node.message.clone())
    }
}

/// The Workflow around a pod. What the template cannot express is a patch of the pod.
pub fn workflow(argo: &Argo, frame: WorkloadFrame, pod: PodSpec) -> Workflow {
    let patch = patch(argo, &pod);
    let containers: Vec<_> = pod.containers.into_iter().map(with_command).collect();
    let mut spec = json!({
        "entrypoint": TEMPLATE,
        // Volumes of the template, because Argo mounts those of the Workflow in no container of a set.
        "templates": [{"name": TEMPLATE, "containerSet": {"containers": containers}, "volumes": pod.volumes}],
        "securityContext": pod.security_context,
        "serviceAccountName": pod.service_account_name,
        "automountServiceAccountToken": pod.automount_service_account_token,
        "executor": {"serviceAccountName": argo.executor_account},
        "podMetadata": {"labels": frame.labels},
        // The driver follows the log live, so Argo need not archive it.
        "archiveLogs": false,
        "activeDeadlineSeconds": frame.deadline_s,
        "ttlStrategy": {"secondsAfterCompletion": frame.ttl_s},
        "podSpecPatch": patch.to_string(),
    });
    for (name, placed) in [
        ("affinity", json!(pod.affinity)),
        ("nodeSelector", json!(pod.node_selector)),
        ("tolerations", json!(pod.tolerations)),
        ("imagePullSecrets", json!(pod.image_pull_secrets)),
    ] {
        if !placed.is_null() {
            spec[name] = placed;
        }
    }
    Object {
        types: Some(TypeMeta {
            api_version: ARGO_API_VERSION.to_owned(),
            kind: "Workflow".to_owned(),
        }),
        metadata: ObjectMeta {
            name: Some(frame.name.to_owned()),
            labels: Some(frame.labels),
            annotations: Some(frame.annotations).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// The containers of a Workflow that this driver has rendered.
pub fn containers_mut(workflow: &mut Workflow) -> impl Iterator<Item = &mut Value> {
    let templates = workflow.spec.pointer_mut("/templates/0/containerSet/containers");
    templates.and_then(Value::as_array_mut).into_iter().flatten()
}

/// Argo's program cannot read the image's entry point, so the command is explicit.
fn with_command(container: Container) -> Container {
    Container {
        command: Some(vec![RUNNER_FILE.to_owned()]),
        ..container
    }
}

/// What Argo's controller would otherwise take from its own configuration, which may belong to someone else, and what a Workflow
/// has no field for.
fn patch(argo: &Argo, pod: &PodSpec) -> Value {
    let own = |name: &str| {
        json!({
            "name": name,
            "resources": containers::requirements(&argo.executor_resources),
            "securityContext": containers::restricted(),
        })
    };
    let mut patch = json!({
        "terminationGracePeriodSeconds": pod.termination_grace_period_seconds,
        "enableServiceLinks": pod.enable_service_links,
        "initContainers": [own(INIT_CONTAINER)],
        "containers": [own(WAIT_CONTAINER)],
    });
    if let Some(class) = &pod.runtime_class_name {
        patch["runtimeClassName"] = json!(class);
    }
    patch
}

/// Explains a cluster that does not know Workflows.
pub fn not_installed(failure: Failure) -> Failure {
    let message = format!("{}: Argo Workflows is not installed there", failure.message);
    Failure::new(failure.kind, message)
        .hint("install it with `cargo xtask up --with-argo`; on another cluster, ask its administrator")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: Value) -> Workflow {
        serde_json::from_value(json!({"metadata": {"name": "task-a"}, "spec": {}, "status": status})).unwrap()
    }

    #[test]
    fn the_phases_of_a_workflow_map_to_those_of_a_job() {
        let failed = |reason: &str| WorkloadState::Failed {
            reason: reason.to_owned(),
            message: "why".to_owned(),
        };
        let expected = [
            ("", WorkloadState::Active),
            ("Pending", WorkloadState::Active),
            ("Running", WorkloadState::Active),
            ("Succeeded", WorkloadState::Complete),
            ("Failed", failed("Failed")),
            ("Error", failed("Error")),
        ];
        for (phase, state) in expected {
            assert_eq!(
                seen(json!({"phase": phase, "message": "why"})).state(),
                state,
                "{phase}"
            );
        }
        let unseen: Workflow = serde_json::from_value(json!({"metadata": {}, "spec": {}})).unwrap();
        assert_eq!(unseen.state(), WorkloadState::Active);
        let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}});
        let leaving: Workflow = serde_json::from_value(leaving).unwrap();
        assert_eq!(leaving.state(), WorkloadState::Gone);
    }

    #[test]
    fn the_node_says_why_a_pod_is_not_created() {
        let node = |phase: &str, message: &str| json!({"n": {"type": "Pod", "phase": phase, "message": message}});
        let said = |nodes| seen(json!({"phase": "Running", "nodes": nodes})).pod_refusal();
        assert_eq!(
            said(node("Pending", "exceeded quota")).as_deref(),
            Some("exceeded quota")
        );
        assert_eq!(said(node("Running", "")), None);
        assert_eq!(said(node("Failed", "Error (exit code 3)")), None);
        assert_eq!(said(json!({})), None);
    }
}
