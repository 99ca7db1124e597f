//! Each way in which a cluster ends a task, as objects of Kubernetes, and the text that a person reads.

use std::time::Instant;

use hybrid_cache_model::protocol::RunReport;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::*;

fn observed(pod: Value) -> ObservedWorkload {
    let mut observed = ObservedWorkload::default();
    let mut whole = json!({"metadata": {"name": "task-a-x7k2q"}, "spec": {"containers": []}});
    merge(&mut whole, pod);
    observed.apply_pod(&serde_json::from_value(whole).unwrap(), Instant::now());
    observed
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn container(state: Value) -> Value {
    json!({"status": {"containerStatuses": [{
        "name": "task", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
    }]}})
}

fn waiting(reason: &str, message: &str) -> ObservedWorkload {
    observed(container(json!({"waiting": {"reason": reason, "message": message}})))
}

fn ended(state: Value) -> (ContainerEnd, ObservedWorkload) {
    let observed = observed(container(json!({"terminated": state})));
    let ended = observed.pod.as_ref().unwrap().task.ended().unwrap().clone();
    (ended, observed)
}

fn unschedulable_pod(message: &str) -> ObservedWorkload {
    observed(json!({"status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
    ]}}))
}

fn event(mut observed: ObservedWorkload, reason: &str, message: &str) -> ObservedWorkload {
    let event = json!({"metadata": {}, "involvedObject": {}, "reason": reason, "message": message});
    observed.apply_event(&serde_json::from_value(event).unwrap());
    observed
}

fn job(mut observed: ObservedWorkload, reason: &str) -> ObservedWorkload {
    let job = json!({"metadata": {}, "status": {"conditions": [
        {"type": "Failed", "status": "True", "reason": reason, "message": "Job was active longer than specified deadline"},
    ]}});
    observed.apply_workload(&serde_json::from_value::<Job>(job).unwrap(), Instant::now());
    observed
}

#[track_caller]
fn check(failure: Option<Failure>, kind: FailureKind, texts: &[&str]) {
    let failure = failure.expect("a failure");
    assert_eq!(failure.kind, kind, "{failure}");
    for text in texts {
        assert!(failure.to_string().contains(text), "{failure}\nlacks {text:?}");
    }
}

const QUOTA: &str = "Error creating: pods \"task-a-x7k2q\" is forbidden: exceeded quota: small, requested: \
                     limits.cpu=2,pods=1, used: limits.cpu=0,pods=3, limited: ";

#[test]
fn a_quota_that_the_pod_can_never_fit_is_a_refusal_in_the_servers_words() {
    let observed = event(
        ObservedWorkload::default(),
        "FailedCreate",
        &format!("{QUOTA}limits.cpu=1,pods=3"),
    );
    check(
        permanent_failure(&observed),
        FailureKind::Refused,
        &["exceeded quota: small", "ResourceQuota"],
    );
}

#[test]
fn a_quota_that_others_use_up_is_waited_for_and_reported_at_the_end() {
    let observed = event(
        ObservedWorkload::default(),
        "FailedCreate",
        &format!("{QUOTA}limits.cpu=4,pods=3"),
    );
    assert_eq!(permanent_failure(&observed), None);
    check(Some(not_started(&observed)), FailureKind::Refused, &["exceeded quota"]);
}

#[test]
fn admission_and_a_missing_service_account_are_refusals_and_a_hiccup_is_not() {
    let security = "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
    let observed = event(ObservedWorkload::default(), "FailedCreate", security);
    check(
        permanent_failure(&observed),
        FailureKind::Refused,
        &["violates PodSecurity"],
    );
    let account =
        "pods \"x\" is forbidden: error looking up service account tasks/task: serviceaccount \"task\" not found";
    let observed = event(ObservedWorkload::default(), "FailedCreate", account);
    check(permanent_failure(&observed), FailureKind::Refused, &["cargo xtask up"]);
    let class = "Error creating: pods \"task-a-\" is forbidden: pod rejected: RuntimeClass \"gvisor\" not found";
    let observed = event(ObservedWorkload::default(), "FailedCreate", class);
    check(
        permanent_failure(&observed),
        FailureKind::Refused,
        &[
            "RuntimeClass \"gvisor\" not found",
            "`pods.runtimeClassName`",
            "cargo xtask up",
        ],
    );
    let hiccup = "Internal error occurred: failed calling webhook: context deadline exceeded";
    assert_eq!(
        permanent_failure(&event(ObservedWorkload::default(), "FailedCreate", hiccup)),
        None
    );
}

#[test]
fn a_refusal_is_ignored_once_the_pod_exists() {
    let observed = event(
        observed(json!({})),
        "FailedCreate",
        &format!("{QUOTA}limits.cpu=1,pods=3"),
    );
    assert_eq!(permanent_failure(&observed), None);
}

#[test]
fn missing_images_are_reported_at_once_and_a_slow_registry_gets_its_time() {
    for reason in ["InvalidImageName", "ErrImageNeverPull"] {
        check(
            permanent_failure(&waiting(reason, "")),
            FailureKind::ImagePull,
            &[reason, "cargo xtask"],
        );
    }
    let refused = waiting("ErrImagePull", "failed to resolve reference \"x\": not found");
    check(
        permanent_failure(&refused),
        FailureKind::ImagePull,
        &["failed to resolve"],
    );
    // As a registry was seen to refuse a node.
    for (said, remedy) in [
        (
            "pull access denied: authorization failed: no basic auth credentials",
            "`pods.imagePullSecrets`",
        ),
        (
            "failed to resolve reference: x509: certificate signed by unknown authority",
            "hosts.toml",
        ),
    ] {
        check(
            permanent_failure(&waiting("ImagePullBackOff", said)),
            FailureKind::ImagePull,
            &[remedy],
        );
    }
    // The kubelet pauses and tries again, whatever the reason.
    for reason in ["ErrImagePull", "ImagePullBackOff"] {
        for passing in ["i/o timeout", "429 Too Many Requests", ""] {
            let said = format!("Back-off pulling image \"x\": ErrImagePull: {passing}");
            assert_eq!(permanent_failure(&waiting(reason, &said)), None, "{reason} {passing}");
        }
        let gone = "Back-off pulling image \"x\": ErrImagePull: failed to resolve reference \"x\": not found";
        check(
            permanent_failure(&waiting(reason, gone)),
            FailureKind::ImagePull,
            &["not found", "cargo xtask"],
        );
    }
    assert_eq!(permanent_failure(&waiting("ContainerCreating", "")), None);
}

#[test]
fn a_container_that_cannot_be_set_up_names_what_is_missing() {
    let observed = waiting(
        "CreateContainerConfigError",
        "container has runAsNonRoot and image will run as root",
    );
    check(
        permanent_failure(&observed),
        FailureKind::Sandbox,
        &["runAsNonRoot", "cargo xtask up"],
    );
    let observed = waiting(
        "CreateContainerConfigError",
        "failed to prepare subPath for volumeMount \"python\"",
    );
    check(
        permanent_failure(&observed),
        FailureKind::CacheAccess,
        &["folders of the caches"],
    );
}

#[test]
fn a_missing_claim_is_reported_at_once_and_a_full_node_at_the_end() {
    let observed = unschedulable_pod("0/1 nodes are available: persistentvolumeclaim \"uv-cache-pvc\" not found.");
    check(
        permanent_failure(&observed),
        FailureKind::Unschedulable,
        &["uv-cache-pvc", "cargo xtask up"],
    );
    let full =
        unschedulable_pod("0/1 nodes are available: 1 Insufficient cpu. preemption: No preemption victims found");
    assert!(waits_for_room(&full).is_some());
    let too_large =
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 1 Preemption is not helpful for scheduling.";
    assert_eq!(waits_for_room(&unschedulable_pod(too_large)), None);
    assert_eq!(
        waits_for_room(&unschedulable_pod("0/1 nodes are available: 1 node(s) had taints")),
        None
    );
    let observed = unschedulable_pod("0/1 nodes are available: 1 Insufficient cpu.");
    assert_eq!(permanent_failure(&observed), None);
    check(
        Some(not_started(&observed)),
        FailureKind::Unschedulable,
        &["Insufficient cpu", "add a node"],
    );
}

#[test]
fn nodes_that_the_settings_rule_out_are_waited_for_and_then_the_setting_is_named() {
    for (said, setting) in [
        (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are \
             available: 1 Preemption is not helpful for scheduling.",
            "`pods.nodeSelector`",
        ),
        (
            "0/2 nodes are available: 1 node(s) had untolerated taint {dedicated: gpu}, 1 node(s) had volume node affinity \
             conflict.",
            "`pods.tolerations`",
        ),
    ] {
        let observed = unschedulable_pod(said);
        // A node may come, or get the label.
        assert_eq!(permanent_failure(&observed), None);
        assert_eq!(waits_for_room(&observed), None);
        assert!(waits_for_node(&observed).unwrap().contains(said));
        check(
            Some(not_started(&observed)),
            FailureKind::Unschedulable,
            &[said, setting, "cargo xtask up"],
        );
    }
}

#[test]
fn a_runtime_class_whose_handler_the_node_lacks_is_named() {
    let said = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime: no runtime for \
                \"runsc\" is configured";
    let observed = event(waiting("ContainerCreating", ""), "FailedCreatePodSandBox", said);
    check(
        Some(not_started(&observed)),
        FailureKind::Sandbox,
        &["no runtime for \"runsc\"", "`pods.runtimeClassName`"],
    );
}

#[test]
fn a_pod_without_a_node_says_what_it_waits_for_until_it_has_one() {
    let full = "0/1 nodes are available: 1 Insufficient cpu. preemption: No preemption victims found";
    let waits = |said: &str| waits_for_node(&unschedulable_pod(said)).unwrap_or_default();
    assert_eq!(waits(full), format!("no room in the cluster: {full}"));
    let tainted = "0/1 nodes are available: 1 node(s) had untolerated taint(s)";
    assert_eq!(waits(tainted), format!("no node takes the task's pod yet: {tainted}"));
    assert_eq!(waits_for_node(&observed(json!({}))), None);
    let mut placed = unschedulable_pod(full);
    placed.pod.as_mut().unwrap().node = Some("node".to_owned());
    assert_eq!(waits_for_node(&placed), None);
}

#[test]
fn a_volume_that_cannot_be_mounted_is_one_line_with_a_next_step() {
    let said = "MountVolume.NewMounter initialization failed for volume \"uv-cache\" : path \"/x\" does not exist";
    let observed = event(waiting("ContainerCreating", ""), "FailedMount", said);
    let failure = not_started(&observed);
    assert_eq!(failure.message.lines().count(), 1);
    check(
        Some(failure),
        FailureKind::CacheAccess,
        &["does not exist", "cargo xtask status"],
    );
}

#[test]
fn too_much_memory_is_reported_unless_the_runner_could_report() {
    let (end, observed) = ended(json!({"exitCode": 137, "reason": "OOMKilled"}));
    check(
        report::<RunReport>(&end, &observed).err(),
        FailureKind::OutOfMemory,
        &["more memory than its limit", "`resources.memory`"],
    );
    let message = r#"{"report":"missed","missed":{"python":true,"python_stale":false,"system":false},
                      "timeline":{"total_us":1,"spans":[]}}"#;
    let (end, observed) = ended(json!({"exitCode": 75, "reason": "OOMKilled", "message": message}));
    assert!(report::<RunReport>(&end, &observed).is_ok());
    assert!(remark(&end).unwrap().contains("memory"));
}

#[test]
fn a_report_beside_an_end_that_is_not_the_runners_does_not_count() {
    let message = json!({"report": "missed", "layer": "python", "timeline": {"total_us": 1, "spans": []}}).to_string();
    for (code, is_believed) in [(0, true), (75, true), (137, false), (3, false)] {
        let (end, observed) = ended(json!({"exitCode": code, "reason": "Error", "message": message}));
        assert_eq!(report::<Value>(&end, &observed).is_ok(), is_believed, "{code}");
    }
}

#[test]
fn an_image_without_the_runner_differs_from_a_runner_without_a_report() {
    let message = "exec: \"runner\": executable file not found in $PATH";
    let (end, observed) = ended(json!({"exitCode": 128, "reason": "StartError", "message": message}));
    check(
        report::<RunReport>(&end, &observed).err(),
        FailureKind::Sandbox,
        &["not found in $PATH"],
    );
    let (end, observed) = ended(json!({"exitCode": EXIT_BROKEN, "reason": "Error"}));
    check(
        report::<RunReport>(&end, &observed).err(),
        FailureKind::Internal,
        &["kubectl logs"],
    );
    let (end, observed) = ended(json!({"exitCode": 3, "reason": "Error"}));
    check(
        report::<RunReport>(&end, &observed).err(),
        FailureKind::Internal,
        &["exit code 3"],
    );
}

/// As recorded of pods whose node was restarted while they ran: containerd has lost the end, the runner had time to report.
fn lost_by_its_node(report: &Value) -> (ContainerEnd, ObservedWorkload) {
    let message = format!("{report}\n");
    let (end, mut observed) = ended(json!({"exitCode": 255, "reason": "Unknown", "message": message}));
    if let Some(pod) = &mut observed.pod {
        pod.phase = "Failed".to_owned();
    }
    (end, observed)
}

#[test]
fn a_container_that_its_node_lost_is_evicted() {
    let unlocated = "The container could not be located when the pod was terminated";
    let unstarted = "failed to create containerd task: failed to create shim task: context canceled";
    let stopping =
        "Transaction for cri-containerd-3.scope/start is destructive (kubelet-kubepods.slice has 'stop' job queued)";
    for state in [
        json!({"exitCode": 255, "reason": "Unknown"}),
        json!({"exitCode": 137, "reason": "ContainerStatusUnknown", "message": unlocated}),
        json!({"exitCode": 128, "reason": "StartError", "message": unstarted}),
        json!({"exitCode": 128, "reason": "StartError", "message": stopping}),
    ] {
        let (end, observed) = ended(state);
        check(
            report::<RunReport>(&end, &observed).err(),
            FailureKind::Evicted,
            &["node", "run the task again"],
        );
    }
    let lost = json!({"status": {"initContainerStatuses": [{
        "name": "init", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 255, "reason": "Unknown"}},
    }]}});
    check(
        permanent_failure(&observed(lost)),
        FailureKind::Evicted,
        &["run the task again"],
    );
}

#[test]
fn the_report_of_a_lost_container_counts() {
    let message = json!({"report": "missed", "layer": "python", "timeline": {"total_us": 1, "spans": []}});
    let (end, observed) = lost_by_its_node(&message);
    assert_eq!(report::<Value>(&end, &observed).unwrap(), message);
    let cut = &message.to_string()[..20];
    let (end, observed) = lost_by_its_node(&json!(cut));
    check(
        report::<RunReport>(&end, &observed).err(),
        FailureKind::Evicted,
        &["node"],
    );
}

#[test]
fn an_eviction_says_who_caused_it_and_why() {
    let message = "Usage of EmptyDir volume \"task-scratch\" exceeds the limit \"2Gi\".";
    let evicted = observed(json!({"status": {"phase": "Failed", "reason": "Evicted", "message": message}}));
    check(
        permanent_failure(&evicted),
        FailureKind::Evicted,
        &["exceeds the limit", "disk limit"],
    );
    let drained = observed(
        json!({"metadata": {"deletionTimestamp": "2026-11-22T10:00:00Z"}, "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        }]}}),
    );
    check(permanent_failure(&drained), FailureKind::Evicted, &["NoExecute taint"]);
    let lost = observed(json!({"status": {"phase": "Failed", "reason": "NodeLost"}}));
    check(
        permanent_failure(&lost),
        FailureKind::Evicted,
        &["NodeLost", "run the task again"],
    );
}

#[test]
fn a_deleted_pod_is_reported_as_deleted_whether_it_is_going_or_gone() {
    let mut deleted = observed(json!({"metadata": {"deletionTimestamp": "2026-11-22T10:00:00Z"}}));
    check(
        permanent_failure(&deleted),
        FailureKind::Evicted,
        &["someone deleted the task's pod"],
    );
    deleted.pod_deleted("task-a-x7k2q");
    check(
        permanent_failure(&deleted),
        FailureKind::Evicted,
        &["someone deleted the task's pod"],
    );
    let mut gone = ObservedWorkload::default();
    gone.workload_deleted();
    check(
        permanent_failure(&gone),
        FailureKind::Evicted,
        &["someone deleted the task's Job"],
    );
}

#[test]
fn the_jobs_own_deadline_is_a_deadline() {
    let running = observed(container(json!({"running": {}})));
    check(
        permanent_failure(&job(running, "DeadlineExceeded")),
        FailureKind::Deadline,
        &["reached its deadline"],
    );
}

#[test]
fn an_ended_job_without_a_pod_counts_only_once_the_pod_was_fetched() {
    let mut failed = job(ObservedWorkload::default(), "BackoffLimitExceeded");
    assert_eq!(permanent_failure(&failed), None);
    failed.pod_fetched = true;
    check(permanent_failure(&failed), FailureKind::Evicted, &["pod is gone"]);
}

#[test]
fn a_pod_that_starts_has_no_failure() {
    assert_eq!(permanent_failure(&ObservedWorkload::default()), None);
    assert_eq!(
        permanent_failure(&observed(json!({"status": {"phase": "Pending"}}))),
        None
    );
    check(
        Some(not_started(&ObservedWorkload::default())),
        FailureKind::Cluster,
        &["controller manager"],
    );
    let slow = event(
        waiting("ContainerCreating", ""),
        "FailedCreatePodSandBox",
        "no address left",
    );
    check(Some(not_started(&slow)), FailureKind::Deadline, &["no address left"]);
}
