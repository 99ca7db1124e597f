//! A task as a Workflow of Argo: the same pod as a Job's, as a container set of one template.
//!
//! Argo adds two containers of its own program argoexec: `init` copies that program into the pod, where it starts each
//! container's command as its child; `wait` reports to the controller. What `wait` may do is a matter of a service account of
//! its own, whose token no other container has.
//!
//! A container set lets every container come to its own end. A sidecar would be killed with the task, while it still
//! publishes what it prepared.

use std::collections::HashMap;

use hybrid_cache_model::pod::RUNNER_FILE;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, GroupVersionKind, Object};
use kube::core::TypeMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::Argo;
use super::render::{self, Frame};
use super::sight::WorkloadState;
use super::workload::Carrier;

/// Group and version.
pub const API_VERSION: &str = "argoproj.io/v1alpha1";
/// The only template.
const TEMPLATE: &str = "task";
/// Argo's own containers: they start ahead of the task's, and stay beside them.
const INIT_CONTAINER: &str = "init";
const WAIT_CONTAINER: &str = "wait";

/// A Workflow. Nothing of its specification is read back.
pub type Workflow = Object<Value, Status>;

/// What its controller says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Error`; empty before the controller has seen it.
    #[serde(default)]
    pub phase: String,
    /// Why, where something is wrong.
    #[serde(default)]
    pub message: String,
    /// The pod and its containers.
    #[serde(default)]
    pub nodes: HashMap<String, Node>,
}

/// One of its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `Pod` or `Container`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// As that of the whole.
    #[serde(default)]
    pub phase: String,
    /// What it waits for, or what it ended by.
    #[serde(default)]
    pub message: String,
}

/// Where Workflows are in the API.
pub fn resource() -> ApiResource {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, "Workflow"), "workflows")
}

impl Carrier for Workflow {
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

    /// A pod that the cluster refuses is tried again and again where a quota is the reason; its node says so meanwhile.
    fn without_pod(&self) -> Option<String> {
        let nodes = self.status.as_ref()?.nodes.values();
        let mut said = nodes.filter(|node| node.kind == "Pod" && matches!(node.phase.as_str(), "Pending" | "Error"));
        said.find(|node| !node.message.is_empty())
            .map(|node| node.message.clone())
    }
}

/// The Workflow around a pod. Only what its template cannot say is a patch of the pod.
pub fn workflow(argo: &Argo, frame: Frame, pod: PodSpec) -> Workflow {
    let containers: Vec<_> = pod.containers.into_iter().map(with_command).collect();
    let spec = json!({
        "entrypoint": TEMPLATE,
        // The template's volumes, for Argo mounts those of the Workflow in no container of a set.
        "templates": [{"name": TEMPLATE, "containerSet": {"containers": containers}, "volumes": pod.volumes}],
        "securityContext": pod.security_context,
        "serviceAccountName": pod.service_account_name,
        "automountServiceAccountToken": pod.automount_service_account_token,
        "executor": {"serviceAccountName": argo.executor_account},
        "podMetadata": {"labels": frame.labels},
        // The log is followed live; nothing of it goes to Argo's artifacts.
        "archiveLogs": false,
        "activeDeadlineSeconds": frame.deadline_s,
        "ttlStrategy": {"secondsAfterCompletion": frame.ttl_s},
        "podSpecPatch": patch(argo, pod.termination_grace_period_seconds, pod.enable_service_links).to_string(),
    });
    Object {
        types: Some(TypeMeta {
            api_version: API_VERSION.to_owned(),
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

/// The containers of a Workflow of ours.
pub fn containers(workflow: &mut Workflow) -> impl Iterator<Item = &mut Value> {
    let templates = workflow.spec.pointer_mut("/templates/0/containerSet/containers");
    templates.and_then(Value::as_array_mut).into_iter().flatten()
}

/// Argo's program has to be told what to start: it cannot see the image's own entry point.
fn with_command(container: Container) -> Container {
    Container {
        command: Some(vec![RUNNER_FILE.to_owned()]),
        ..container
    }
}

/// What Argo's controller would otherwise take from its own configuration, which on somebody's cluster is not ours.
fn patch(argo: &Argo, grace_s: Option<i64>, service_links: Option<bool>) -> Value {
    let own = |name: &str| {
        json!({
            "name": name,
            "resources": render::requirements(&argo.executor_resources),
            "securityContext": render::restricted(),
        })
    };
    json!({
        "terminationGracePeriodSeconds": grace_s,
        "enableServiceLinks": service_links,
        "initContainers": [own(INIT_CONTAINER)],
        "containers": [own(WAIT_CONTAINER)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: Value) -> Workflow {
        serde_json::from_value(json!({"metadata": {"name": "task-a"}, "spec": {}, "status": status})).unwrap()
    }

    #[test]
    fn the_phases_of_a_workflow_are_those_of_a_job() {
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
    fn what_keeps_a_pod_from_being_made_is_told_by_its_node() {
        let node = |phase: &str, message: &str| json!({"n": {"type": "Pod", "phase": phase, "message": message}});
        let said = |nodes| seen(json!({"phase": "Running", "nodes": nodes})).without_pod();
        assert_eq!(
            said(node("Pending", "exceeded quota")).as_deref(),
            Some("exceeded quota")
        );
        assert_eq!(said(node("Running", "")), None);
        assert_eq!(said(node("Failed", "Error (exit code 3)")), None);
        assert_eq!(said(json!({})), None);
    }
}
