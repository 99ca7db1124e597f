//! Explains why a task cannot continue, from its observed state. Pure code; each case says what to do next.

use hybrid_cache_model::protocol::{EXIT_BROKEN, EXIT_MISSED, EXIT_REPORTED};
use hybrid_cache_model::{Failure, FailureKind};
use serde::de::DeserializeOwned;

use crate::kube::api::temporary;
use crate::kube::observe::observed::{ContainerEnd, NO_POD, ObservedContainer, ObservedPod, ObservedWorkload};
use crate::kube::workload::kind::WorkloadKind;
use crate::kube::workload::state::WorkloadState;

/// States of a waiting container that waiting does not change.
const IMAGE_UNAVAILABLE: [&str; 2] = ["InvalidImageName", "ErrImageNeverPull"];
/// States in which the message says whether another pull may help. The kubelet retries after a pause.
const IMAGE_FAILED: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];
/// States of a waiting container that is about to start.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Reasons of an ended container whose end its node has not seen: one of containerd, one of the kubelet.
const LOST: [&str; 2] = ["Unknown", "ContainerStatusUnknown"];
/// Messages of a container runtime that stopped while it created a container.
const RUNTIME_GONE: [&str; 6] = [
    "context canceled",
    "context deadline exceeded",
    "ttrpc: closed",
    "connection refused",
    "error reading from server",
    // systemd refuses to start anything while it shuts down.
    "is destructive",
];
/// Messages of a registry for which another pull would not help.
const IMAGE_REFUSED: [&str; 9] = [
    "not found",
    "manifest unknown",
    "unauthorized",
    "denied",
    "forbidden",
    "invalid reference",
    "no match for platform",
    "x509",
    "HTTP response to HTTPS client",
];

/// Why the task can never finish; `None` while it may.
pub fn permanent_failure(observed: &ObservedWorkload) -> Option<Failure> {
    refused(observed)
        .or_else(|| {
            observed
                .pod
                .as_ref()
                .and_then(|pod| pod_permanent_failure(pod, observed))
        })
        .or_else(|| workload_ended(observed))
}

/// A refusal by a quota or an admission rule that waiting does not change.
fn refused(observed: &ObservedWorkload) -> Option<Failure> {
    let said = observed.warning(NO_POD).filter(|_| observed.pod.is_none())?;
    if temporary::is_temporary(said) || !is_refusal(said) {
        return None;
    }
    Some(refusal(said))
}

fn is_refusal(said: &str) -> bool {
    ["is forbidden", "is invalid", "denied the request", "not found"]
        .iter()
        .any(|text| said.contains(text))
}

fn refusal(said: &str) -> Failure {
    let failure = Failure::new(
        FailureKind::Refused,
        format!("the cluster refuses the task's pod: {said}"),
    );
    if said.contains("exceeded quota") {
        failure.hint("ask for less in the task's `resources`, or have the namespace's ResourceQuota raised")
    } else if said.contains("PodSecurity") {
        failure.hint("the namespace demands more of a pod than this driver's pods satisfy; ask its administrator")
    } else if said.contains("RuntimeClass") {
        failure.hint(
            "create that RuntimeClass in the cluster, or correct `pods.runtimeClassName` in the operator's settings; then \
             `cargo xtask up`",
        )
    } else if said.contains("serviceaccount") || said.contains("service account") {
        failure.hint("create what a task needs in its namespace: `cargo xtask up`")
    } else {
        failure.hint("a rule of the cluster (a LimitRange, a webhook) refuses it; ask its administrator which")
    }
}

/// Why a task waits for others to end, in the words of the scheduler or of the quota. `None` if it has a node, or if it
/// would not fit even then.
pub fn waits_for_room(observed: &ObservedWorkload) -> Option<&str> {
    let Some(pod) = &observed.pod else {
        return observed
            .warning(NO_POD)
            .filter(|said| temporary::is_quota_full_for_now(said));
    };
    let said = pod.unschedulable.as_deref().filter(|_| pod.node.is_none())?;
    let lacks = ["Insufficient", "Too many pods"].iter().any(|text| said.contains(text));
    // The scheduler says this if a node would be too small even if it were empty.
    (lacks && !said.contains("Preemption is not helpful")).then_some(said)
}

/// Why the task's pod has no node yet, for a person; `None` if it has one, or if the scheduler has not tried yet.
pub fn waits_for_node(observed: &ObservedWorkload) -> Option<String> {
    if let Some(said) = waits_for_room(observed) {
        return Some(format!("no room in the cluster: {said}"));
    }
    let pod = observed.pod.as_ref().filter(|pod| pod.node.is_none())?;
    let said = pod.unschedulable.as_deref()?;
    Some(format!("no node takes the task's pod yet: {said}"))
}

/// True if the kubelet was restarted before the task's pod had started. It reports failed mounts for pods that it has not
/// read again, and retries them after pauses.
pub fn kubelet_restarted(observed: &ObservedWorkload) -> bool {
    let waits = |pod: &ObservedPod| matches!(pod.task, ObservedContainer::Unknown | ObservedContainer::Waiting { .. });
    let said = observed.warning("FailedMount").unwrap_or_default();
    let unread = ["not registered", "failed to sync"]
        .iter()
        .any(|text| said.contains(text));
    unread && observed.pod.as_ref().is_some_and(waits)
}

fn pod_permanent_failure(pod: &ObservedPod, observed: &ObservedWorkload) -> Option<Failure> {
    if let Some(said) = pod.unschedulable.as_deref().filter(|said| is_missing_claim(said)) {
        return Some(unschedulable(said));
    }
    let waiting = pod.containers().into_iter().find_map(|container| match container {
        ObservedContainer::Waiting { reason, message } => waiting(reason, message),
        _ => None,
    });
    let waiting = waiting.or_else(|| pod.init.ended().filter(|ended| ended.code != 0).map(init_failed));
    waiting.or_else(|| pod_removed(pod, observed))
}

fn is_missing_claim(said: &str) -> bool {
    said.contains("persistentvolumeclaim") && said.contains("not found")
}

fn waiting(reason: &str, message: &str) -> Option<Failure> {
    let permanent_failure = IMAGE_UNAVAILABLE.contains(&reason)
        || IMAGE_FAILED.contains(&reason) && IMAGE_REFUSED.iter().any(|text| message.contains(text));
    if permanent_failure {
        return Some(image_pull(reason, message));
    }
    if reason != "CreateContainerConfigError" {
        return None;
    }
    let message = format!("the container cannot be set up: {message}");
    Some(if message.contains("subPath") {
        Failure::new(FailureKind::CacheAccess, message)
            .hint("the folders of the caches are missing, or belong to another user: `cargo xtask up` creates them")
    } else {
        Failure::new(FailureKind::Sandbox, message)
            .hint("the image or the namespace does not match this driver: `cargo xtask up` updates both")
    })
}

fn image_pull(reason: &str, message: &str) -> Failure {
    let said = if message.is_empty() { reason } else { message };
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    let hint = if has(&["no basic auth", "unauthorized", "authorization failed", "denied"]) {
        "give the node credentials for that registry: a Secret of type `kubernetes.io/dockerconfigjson` in the namespace of \
         tasks, named in `pods.imagePullSecrets` of the operator's settings; then `cargo xtask up`"
    } else if has(&["x509", "certificate", "CA cert"]) {
        "the node does not trust the registry's certificate: give its CA to containerd, in \
         /etc/containerd/certs.d/REGISTRY:PORT/hosts.toml"
    } else {
        "build it and load it into the cluster: `cargo xtask up`; or `cargo xtask image --push REF` to a registry \
         that the nodes reach"
    };
    Failure::new(
        FailureKind::ImagePull,
        format!("the image cannot be pulled ({reason}): {said}"),
    )
    .hint(hint)
}

/// The container that runs before the others failed, so none of them will start.
fn init_failed(ended: &ContainerEnd) -> Failure {
    if let Some(failure) = lost(ended) {
        return failure;
    }
    let (code, said) = (ended.code, &ended.message);
    let message = format!("Argo's init container ended with code {code}: {said}");
    Failure::new(FailureKind::Sandbox, message).hint("read its log: `kubectl logs POD -c init`")
}

/// Why the cluster or a person ends the pod, if one does.
fn pod_removed(pod: &ObservedPod, observed: &ObservedWorkload) -> Option<Failure> {
    if let WorkloadState::Failed { reason, message } = &observed.workload
        && reason == "DeadlineExceeded"
    {
        return Some(Failure::new(
            FailureKind::Deadline,
            format!("the Job reached its deadline: {message}"),
        ));
    }
    let failed = pod.phase == "Failed";
    if failed && pod.reason == "DeadlineExceeded" {
        // A Workflow passes its deadline on to its pod.
        let message = format!("the pod reached its deadline: {}", pod.message);
        return Some(Failure::new(FailureKind::Deadline, message));
    }
    let evicted = |reason: &str, message: &str| {
        let why = [reason, message].into_iter().find(|text| text.contains(' '));
        let why = why.map_or_else(|| reason.to_owned(), str::to_owned);
        Failure::new(FailureKind::Evicted, format!("the cluster ended the task's pod: {why}"))
    };
    if failed && !pod.reason.is_empty() {
        let failure = evicted(&pod.reason, &pod.message);
        return Some(
            if pod.message.contains("ephemeral") || pod.message.contains("EmptyDir") {
                failure
                    .hint("the task wrote more than its disk limit: ask for more with `resources.disk`, or write less")
            } else {
                failure.hint("run the task again; if it happens often, check the node: `kubectl describe node`")
            },
        );
    }
    if let Some((reason, message)) = pod
        .disrupted
        .as_ref()
        .filter(|_| failed || pod.deleting || observed.pod_gone)
    {
        return Some(evicted(reason, message).hint("run the task again"));
    }
    if pod.deleting || observed.pod_gone {
        return Some(Failure::new(FailureKind::Evicted, "someone deleted the task's pod").hint("run the task again"));
    }
    None
}

/// The container's node or its container runtime stopped under it.
pub fn lost(ended: &ContainerEnd) -> Option<Failure> {
    let message = if LOST.contains(&ended.reason.as_str()) {
        "the node lost the task's container, because the node or its container runtime was restarted".to_owned()
    } else if ended.reason == "StartError" && RUNTIME_GONE.iter().any(|text| ended.message.contains(text)) {
        format!(
            "the node stopped while it started the task's container: {}",
            ended.message
        )
    } else {
        return None;
    };
    Some(Failure::new(FailureKind::Evicted, message).hint("run the task again"))
}

/// The runner received SIGTERM although no one cancelled the task.
pub fn terminated_without_reason() -> Failure {
    let message = "the cluster ended the task's container without giving a reason";
    Failure::new(FailureKind::Evicted, message).hint("run the task again")
}

/// Why a workload has ended whose pod cannot say how.
fn workload_ended(observed: &ObservedWorkload) -> Option<Failure> {
    let kind = observed.kind.name();
    match &observed.workload {
        WorkloadState::Gone if observed.pod.is_none() => {
            let message = format!("someone deleted the task's {kind}");
            Some(Failure::new(FailureKind::Evicted, message).hint("run the task again"))
        }
        WorkloadState::Failed { reason, .. } if reason == "DeadlineExceeded" && observed.pod_fetched => {
            Some(not_started(observed))
        }
        WorkloadState::Failed { reason, message } if observed.pod_fetched => {
            let message = format!("the {kind} has failed, and its pod is gone ({reason}): {message}");
            Some(Failure::new(FailureKind::Evicted, message).hint("run the task again"))
        }
        WorkloadState::Complete if observed.pod_fetched => Some(
            Failure::new(
                FailureKind::Evicted,
                format!("the {kind} has ended, and its pod and report are gone"),
            )
            .hint("run the task again, and fetch its outcome before the cluster deletes the pod"),
        ),
        _ => None,
    }
}

/// Why a task has not started in time.
pub fn not_started(observed: &ObservedWorkload) -> Failure {
    let Some(pod) = &observed.pod else {
        return match observed.warning(NO_POD) {
            Some(said) => refusal(said),
            None => no_pod(observed.kind),
        };
    };
    if let Some(said) = &pod.unschedulable {
        return unschedulable(said);
    }
    if kubelet_restarted(observed) {
        let message = "the task's node was restarted and did not start the task's pod in time afterwards";
        return Failure::new(FailureKind::Evicted, message).hint("run the task again");
    }
    if let Some(said) = observed
        .warning("FailedCreatePodSandBox")
        .filter(|said| said.contains("no runtime for"))
    {
        let message = format!("the node has no such container runtime: {said}");
        return Failure::new(FailureKind::Sandbox, message).hint(
            "install the handler of the RuntimeClass on the node, or correct `pods.runtimeClassName` in the operator's \
             settings; then `cargo xtask up`",
        );
    }
    for reason in ["FailedMount", "FailedAttachVolume"] {
        if let Some(said) = observed.warning(reason) {
            return Failure::new(FailureKind::CacheAccess, format!("a volume cannot be mounted: {said}")).hint(
                "check that the claims are bound and their folders exist: `cargo xtask status` shows it, `cargo xtask up` fixes it",
            );
        }
    }
    for container in pod.containers() {
        match container {
            ObservedContainer::Waiting { reason, message } if reason.contains("Image") => {
                return image_pull(reason, message);
            }
            ObservedContainer::Waiting { reason, message }
                if !reason.is_empty() && !STARTING.contains(&reason.as_str()) =>
            {
                let message = format!("the container does not start ({reason}): {message}");
                return Failure::new(FailureKind::Sandbox, message);
            }
            _ => {}
        }
    }
    let node = pod.node.as_deref().unwrap_or("no node");
    let last = observed.warnings.last();
    let last = last
        .map(|warning| format!("; the last warning: {}", warning.message))
        .unwrap_or_default();
    Failure::new(
        FailureKind::Deadline,
        format!("the pod has not started in time on {node}{last}"),
    )
    .hint("see `kubectl describe pod` and the log of the node's kubelet")
}

/// No pod was created, and there is no warning that says why.
fn no_pod(kind: WorkloadKind) -> Failure {
    let name = kind.name();
    let message = format!("the cluster did not create a pod for the task's {name} in time");
    Failure::new(FailureKind::Cluster, message).hint(match kind {
        WorkloadKind::Job | WorkloadKind::Pod => "check the controller manager: `kubectl get pods -n kube-system`",
        WorkloadKind::Workflow => {
            "check that Argo's controller runs and manages this namespace: `kubectl get deployments -A \
             --field-selector metadata.name=workflow-controller`"
        }
    })
}

fn unschedulable(said: &str) -> Failure {
    let failure = Failure::new(
        FailureKind::Unschedulable,
        format!("no node takes the task's pod: {said}"),
    );
    if said.contains("persistentvolumeclaim") || said.contains("PersistentVolumeClaim") {
        failure.hint("the claims of the caches are missing or not bound: `cargo xtask up` creates them")
    } else if said.contains("Insufficient") {
        failure.hint("wait for other tasks, ask for less in the task's `resources`, or add a node")
    } else if said.contains("didn't match Pod's node affinity/selector") {
        failure.hint(
            "label a node (`kubectl label node`) that the volumes reach, or correct `pods.nodeSelector` in the operator's \
             settings; then `cargo xtask up`",
        )
    } else if said.contains("untolerated taint") {
        failure.hint("add the taint to `pods.tolerations` in the operator's settings; then `cargo xtask up`")
    } else {
        failure.hint("`kubectl describe pod` shows what the nodes lack")
    }
}

/// Reads the report of the task's container, or explains why there is none. A runner that has reported ends by itself, so
/// a report beside any other end is forged: if the runner is not the pod's first process, user code can end it. If the
/// node has not seen the end, a report counts.
///
/// # Errors
/// There is no report; the failure says why as far as the cluster knows.
pub fn report<T: DeserializeOwned>(ended: &ContainerEnd, observed: &ObservedWorkload) -> Result<T, Failure> {
    let by_itself = [EXIT_REPORTED, EXIT_MISSED].contains(&ended.code);
    let unseen = LOST.contains(&ended.reason.as_str());
    match serde_json::from_str(&ended.message) {
        Ok(report) if by_itself || unseen => Ok(report),
        _ => Err(no_report(ended, observed)),
    }
}

/// What the end of a container means if it left no report.
pub fn no_report(ended: &ContainerEnd, observed: &ObservedWorkload) -> Failure {
    let code = ended.code;
    if ended.reason == "OOMKilled" {
        return Failure::new(
            FailureKind::OutOfMemory,
            "the task needed more memory than its limit, and the kernel ended it",
        )
        .hint(
            "ask for more with the task's `resources.memory`, within `pods.taskResources.maximum` of the operator's \
             settings, or use less memory",
        );
    }
    let taken = observed.pod.as_ref().and_then(|pod| pod_removed(pod, observed));
    if let Some(failure) = taken.or_else(|| lost(ended)) {
        return failure;
    }
    if ["StartError", "ContainerCannotRun"].contains(&ended.reason.as_str()) {
        return Failure::new(
            FailureKind::Sandbox,
            format!("the image's runner cannot be started: {}", ended.message),
        )
        .hint("build the image again: `cargo xtask image`, then `cargo xtask up`");
    }
    if code == EXIT_BROKEN {
        return Failure::new(FailureKind::Internal, "the runner could not write its report")
            .hint("read its container's log: `kubectl logs`");
    }
    let reason = &ended.reason;
    Failure::new(
        FailureKind::Internal,
        format!("the task's container ended without a report (exit code {code}, {reason})"),
    )
    .hint("its container's log may say why: `kubectl logs`")
}

/// What an operator should know about a container that reported.
pub fn remark(ended: &ContainerEnd) -> Option<String> {
    (ended.reason == "OOMKilled")
        .then(|| "a process of the task needed more memory than the limit and was ended by the kernel".to_owned())
}

#[cfg(test)]
mod tests;
