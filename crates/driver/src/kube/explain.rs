//! Why a task cannot go on, told from what the cluster shows: pure code over [`Sight`], each case with its next step.

use hybrid_cache_model::protocol::{EXIT_BROKEN, EXIT_MISSED, EXIT_REPORTED};
use hybrid_cache_model::quantity;
use hybrid_cache_model::{Failure, FailureKind};
use serde::de::DeserializeOwned;

use super::sight::{ContainerSight, Ended, NO_POD, PodSight, Sight, WorkloadState};
use super::workload::Kind;

/// States of a waiting container that do not heal by waiting.
const IMAGE_HOPELESS: [&str; 2] = ["InvalidImageName", "ErrImageNeverPull"];
/// Those in which the message says whether another pull may help: the kubelet tries again after a pause.
const IMAGE_FAILED: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];
/// States of a waiting container whose turn is yet to come.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Reasons of an ended container whose end its node has not seen: containerd's word, and the kubelet's.
const LOST: [&str; 2] = ["Unknown", "ContainerStatusUnknown"];
/// What a container runtime says that went down while it made a container.
const RUNTIME_GONE: [&str; 6] = [
    "context canceled",
    "context deadline exceeded",
    "ttrpc: closed",
    "connection refused",
    "error reading from server",
    // systemd, which refuses to start anything while it shuts down.
    "is destructive",
];
/// What a registry says when asking again would not help.
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

/// Why the task will never get to its end, as soon as that is certain; `None` while it may.
pub fn hopeless(sight: &Sight) -> Option<Failure> {
    refused(sight)
        .or_else(|| sight.pod.as_ref().and_then(|pod| pod_hopeless(pod, sight)))
        .or_else(|| workload_ended(sight))
}

/// A quota or an admission rule that no waiting changes.
fn refused(sight: &Sight) -> Option<Failure> {
    let said = sight.warning(NO_POD).filter(|_| sight.pod.is_none())?;
    if is_no_word_for_good(said) || !is_refusal(said) {
        return None;
    }
    Some(refusal(said))
}

/// What is said of a quota that is full for now or has not been read yet, and by an API server that has just started: its
/// controllers are told that they may do nothing.
pub fn is_no_word_for_good(said: &str) -> bool {
    quota_is_full_for_now(said) || said.contains("status unknown for quota") || said.contains("cannot create resource")
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
        failure.hint("ask for less in the task's resources, or have the namespace's ResourceQuota raised")
    } else if said.contains("PodSecurity") {
        failure.hint("the namespace demands more of a pod than this driver's satisfies: tell its administrator")
    } else if said.contains("serviceaccount") || said.contains("service account") {
        failure.hint("make what a task needs in its namespace: `cargo xtask up`")
    } else {
        failure.hint("a rule of the cluster (a LimitRange, a webhook) says no: its administrator knows which")
    }
}

/// True where the quota has room for the pod as soon as others have ended: every resource it lacks is in use, and what
/// the pod asks for would fit alone.
fn quota_is_full_for_now(said: &str) -> bool {
    let part = |name: &str| {
        let from = said.find(&format!("{name}: "))? + name.len() + 2;
        let text = &said[from..];
        Some(text.find(": ").map_or(text, |end| &text[..end]))
    };
    let amounts = |text: &str| -> Vec<(String, f64)> {
        let pairs = text.split(',').filter_map(|pair| pair.trim().split_once('='));
        pairs
            .filter_map(|(name, amount)| Some((name.to_owned(), quantity::value(amount)?)))
            .collect()
    };
    let (Some(requested), Some(limited)) = (part("requested"), part("limited")) else {
        return false;
    };
    let (requested, limited) = (amounts(requested), amounts(limited));
    let fits = |(name, amount): &(String, f64)| {
        let limit = limited.iter().find(|(known, _)| known == name);
        limit.is_some_and(|(_, limit)| amount <= limit)
    };
    said.contains("exceeded quota") && !requested.is_empty() && requested.iter().all(fits)
}

/// Why a task has no place yet that would fit once others have ended: the scheduler's words, or those of the quota. `None`
/// where it has a place, or where no end of others gives it one.
pub fn waits_for_room(sight: &Sight) -> Option<&str> {
    let Some(pod) = &sight.pod else {
        return sight.warning(NO_POD).filter(|said| quota_is_full_for_now(said));
    };
    let said = pod.unschedulable.as_deref().filter(|_| pod.node.is_none())?;
    let lacks = ["Insufficient", "Too many pods"].iter().any(|text| said.contains(text));
    // What the scheduler says where a node would be too small if it were empty.
    (lacks && !said.contains("Preemption is not helpful")).then_some(said)
}

/// Why the task's pod has no node yet, for a person; `None` where it has one, or where nobody has looked for one.
pub fn waits_for_node(sight: &Sight) -> Option<String> {
    if let Some(said) = waits_for_room(sight) {
        return Some(format!("no room in the cluster: {said}"));
    }
    let pod = sight.pod.as_ref().filter(|pod| pod.node.is_none())?;
    let said = pod.unschedulable.as_deref()?;
    Some(format!("no node takes the task's pod yet: {said}"))
}

/// True where the kubelet began anew before the task's pod had started: it says so of volumes of pods that it has not read
/// again yet, and tries them again after pauses.
pub fn kubelet_began_anew(sight: &Sight) -> bool {
    let waits = |pod: &PodSight| matches!(pod.task, ContainerSight::Unknown | ContainerSight::Waiting { .. });
    let said = sight.warning("FailedMount").unwrap_or_default();
    let unread = ["not registered", "failed to sync"]
        .iter()
        .any(|text| said.contains(text));
    unread && sight.pod.as_ref().is_some_and(waits)
}

fn pod_hopeless(pod: &PodSight, sight: &Sight) -> Option<Failure> {
    if let Some(said) = pod.unschedulable.as_deref().filter(|said| is_missing_claim(said)) {
        return Some(unschedulable(said));
    }
    let waiting = pod.containers().into_iter().find_map(|container| match container {
        ContainerSight::Waiting { reason, message } => waiting(reason, message),
        _ => None,
    });
    let waiting = waiting.or_else(|| pod.init.ended().filter(|ended| ended.code != 0).map(ahead_failed));
    waiting.or_else(|| taken_away(pod, sight))
}

fn is_missing_claim(said: &str) -> bool {
    said.contains("persistentvolumeclaim") && said.contains("not found")
}

fn waiting(reason: &str, message: &str) -> Option<Failure> {
    let hopeless = IMAGE_HOPELESS.contains(&reason)
        || IMAGE_FAILED.contains(&reason) && IMAGE_REFUSED.iter().any(|text| message.contains(text));
    if hopeless {
        return Some(image_pull(reason, message));
    }
    if reason != "CreateContainerConfigError" {
        return None;
    }
    let message = format!("the container cannot be set up: {message}");
    Some(if message.contains("subPath") {
        Failure::new(FailureKind::CacheAccess, message)
            .hint("the folders of the caches are not there, or belong to somebody else: `cargo xtask up` makes them")
    } else {
        Failure::new(FailureKind::Sandbox, message)
            .hint("the image or the namespace does not fit this driver: `cargo xtask up` brings both up to date")
    })
}

fn image_pull(reason: &str, message: &str) -> Failure {
    let said = if message.is_empty() { reason } else { message };
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    let hint = if has(&["no basic auth", "unauthorized", "authorization failed", "denied"]) {
        "give the node credentials for that registry: a Secret of type `kubernetes.io/dockerconfigjson`, named in the \
         `imagePullSecrets` of the service account `hybrid-cache-task`"
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

/// The container ahead of the others is not the task's: none of them starts any more.
fn ahead_failed(ended: &Ended) -> Failure {
    if let Some(failure) = lost(ended) {
        return failure;
    }
    let (code, said) = (ended.code, &ended.message);
    let message = format!("Argo's container ahead of the task's ended with code {code}: {said}");
    Failure::new(FailureKind::Sandbox, message).hint("its log says why: `kubectl logs POD -c init`")
}

/// The pod is being ended by somebody else than the task.
fn taken_away(pod: &PodSight, sight: &Sight) -> Option<Failure> {
    if let WorkloadState::Failed { reason, message } = &sight.workload
        && reason == "DeadlineExceeded"
    {
        return Some(Failure::new(
            FailureKind::Deadline,
            format!("the Job ran out of its time: {message}"),
        ));
    }
    let failed = pod.phase == "Failed";
    if failed && pod.reason == "DeadlineExceeded" {
        // A Workflow hands its deadline on to its pod.
        let message = format!("the pod ran out of its time: {}", pod.message);
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
                failure.hint("the task wrote more than its disk limit: raise it, or write less")
            } else {
                failure.hint("run it again; where it happens often, look at the node: `kubectl describe node`")
            },
        );
    }
    if let Some((reason, message)) = pod
        .disrupted
        .as_ref()
        .filter(|_| failed || pod.deleting || sight.pod_gone)
    {
        return Some(evicted(reason, message).hint("run it again"));
    }
    if pod.deleting || sight.pod_gone {
        return Some(Failure::new(FailureKind::Evicted, "somebody deleted the pod of the task").hint("run it again"));
    }
    None
}

/// The container's node went down around it, or its container runtime did.
pub fn lost(ended: &Ended) -> Option<Failure> {
    let message = if LOST.contains(&ended.reason.as_str()) {
        "the node lost the task's container: it was restarted, or its container runtime was".to_owned()
    } else if ended.reason == "StartError" && RUNTIME_GONE.iter().any(|text| ended.message.contains(text)) {
        format!(
            "the node went down while it started the task's container: {}",
            ended.message
        )
    } else {
        return None;
    };
    Some(Failure::new(FailureKind::Evicted, message).hint("run it again"))
}

/// Nobody has cancelled the task, and its runner was told to end.
pub fn told_to_end() -> Failure {
    let message = "the cluster told the task's container to end and has not said why";
    Failure::new(FailureKind::Evicted, message).hint("run it again")
}

/// The workload has come to its end, and its pod cannot say how.
fn workload_ended(sight: &Sight) -> Option<Failure> {
    let kind = sight.kind.name();
    match &sight.workload {
        WorkloadState::Gone if sight.pod.is_none() => {
            let message = format!("somebody deleted the {kind} of the task");
            Some(Failure::new(FailureKind::Evicted, message).hint("run it again"))
        }
        WorkloadState::Failed { reason, .. } if reason == "DeadlineExceeded" && sight.asked => Some(not_started(sight)),
        WorkloadState::Failed { reason, message } if sight.asked => {
            let message = format!("the {kind} has failed, and its pod is gone ({reason}): {message}");
            Some(Failure::new(FailureKind::Evicted, message).hint("run it again"))
        }
        WorkloadState::Complete if sight.asked => Some(
            Failure::new(
                FailureKind::Evicted,
                format!("the {kind} has ended, and its pod is gone with what it left"),
            )
            .hint("run it again; ask for outcomes before the cluster clears pods away"),
        ),
        _ => None,
    }
}

/// Why a task has not started in the time it had for that.
pub fn not_started(sight: &Sight) -> Failure {
    let Some(pod) = &sight.pod else {
        return match sight.warning(NO_POD) {
            Some(said) => refusal(said),
            None => no_pod(sight.kind),
        };
    };
    if let Some(said) = &pod.unschedulable {
        return unschedulable(said);
    }
    if kubelet_began_anew(sight) {
        let message = "the task's node was restarted and did not start the task's pod in time afterwards";
        return Failure::new(FailureKind::Evicted, message).hint("run it again");
    }
    for reason in ["FailedMount", "FailedAttachVolume"] {
        if let Some(said) = sight.warning(reason) {
            return Failure::new(FailureKind::CacheAccess, format!("a volume cannot be mounted: {said}")).hint(
                "are the claims bound and their folders there? `cargo xtask status` says, `cargo xtask up` mends",
            );
        }
    }
    for container in pod.containers() {
        match container {
            ContainerSight::Waiting { reason, message } if reason.contains("Image") => {
                return image_pull(reason, message);
            }
            ContainerSight::Waiting { reason, message }
                if !reason.is_empty() && !STARTING.contains(&reason.as_str()) =>
            {
                let message = format!("the container does not start ({reason}): {message}");
                return Failure::new(FailureKind::Sandbox, message);
            }
            _ => {}
        }
    }
    let node = pod.node.as_deref().unwrap_or("no node");
    let last = sight.warnings.last();
    let last = last
        .map(|warning| format!("; the last warning: {}", warning.message))
        .unwrap_or_default();
    Failure::new(
        FailureKind::Deadline,
        format!("the pod has not started in time on {node}{last}"),
    )
    .hint("see `kubectl describe pod` and the node's kubelet")
}

/// Nobody has made a pod, and nobody has said why.
fn no_pod(kind: Kind) -> Failure {
    let name = kind.name();
    let message = format!("the cluster has not made a pod for the task's {name} in time");
    Failure::new(FailureKind::Cluster, message).hint(match kind {
        Kind::Job => "is the controller manager up? see `kubectl get pods -n kube-system`",
        Kind::Workflow => {
            "is Argo's controller up, and does it look after this namespace? see `kubectl get deployments -A \
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
        failure.hint("the claims of the caches are missing or not bound: `cargo xtask up` makes them")
    } else if said.contains("Insufficient") {
        failure.hint("wait for other tasks, ask for less in the task's resources, or add a node")
    } else {
        failure.hint("see `kubectl describe pod` for what its nodes lack")
    }
}

/// Reads what the task's container left, or explains why it left nothing. A runner that has reported ends by itself, so a
/// report beside any other end is somebody else's: where the runner is not the pod's first process, user code can end it.
/// An end that the node has not seen is nobody's, so a report counts.
///
/// # Errors
/// There is no report; the failure says why as far as the cluster knows.
pub fn report<T: DeserializeOwned>(ended: &Ended, sight: &Sight) -> Result<T, Failure> {
    let by_itself = [EXIT_REPORTED, EXIT_MISSED].contains(&ended.code);
    let unseen = LOST.contains(&ended.reason.as_str());
    match serde_json::from_str(&ended.message) {
        Ok(report) if by_itself || unseen => Ok(report),
        _ => Err(no_report(ended, sight)),
    }
}

/// What the end of a container means where it left no report.
pub fn no_report(ended: &Ended, sight: &Sight) -> Failure {
    let code = ended.code;
    if ended.reason == "OOMKilled" {
        return Failure::new(
            FailureKind::OutOfMemory,
            "the task wanted more memory than its limit, and the kernel ended it",
        )
        .hint("raise the memory limit of the task's resources, or use less");
    }
    let taken = sight.pod.as_ref().and_then(|pod| taken_away(pod, sight));
    if let Some(failure) = taken.or_else(|| lost(ended)) {
        return failure;
    }
    if ["StartError", "ContainerCannotRun"].contains(&ended.reason.as_str()) {
        return Failure::new(
            FailureKind::Sandbox,
            format!("the image's runner cannot be started: {}", ended.message),
        )
        .hint("build the image anew: `cargo xtask image`, then `cargo xtask up`");
    }
    if code == EXIT_BROKEN {
        return Failure::new(FailureKind::Internal, "the runner could not leave a report")
            .hint("its container's log says why: `kubectl logs`");
    }
    let reason = &ended.reason;
    Failure::new(
        FailureKind::Internal,
        format!("the task's container ended without a report (exit code {code}, {reason})"),
    )
    .hint("its container's log may say why: `kubectl logs`")
}

/// What an operator should know of a container that did leave a report.
pub fn remark(ended: &Ended) -> Option<String> {
    (ended.reason == "OOMKilled")
        .then(|| "a process of the task wanted more memory than the limit and was ended by the kernel".to_owned())
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
