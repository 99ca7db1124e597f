//! Every step of a workload, without a cluster.

use std::time::Instant;

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::*;
use crate::kube::workload::workflow::Workflow;

const BOUNDS: Bounds = Bounds {
    start: Duration::from_secs(10),
    whole: Duration::from_secs(100),
};

fn observed(task: Value, prepare: Option<Value>) -> ObservedWorkload {
    observed_with(task, prepare, json!({"name": "task-a-x7k2q"}))
}

fn observed_with(task: Value, prepare: Option<Value>, metadata: Value) -> ObservedWorkload {
    let status = |name: &str, state: Value| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    let mut statuses = vec![status("task", task)];
    statuses.extend(prepare.map(|state| status("prepare", state)));
    let pod = json!({"metadata": metadata, "spec": {"containers": []}, "status": {"containerStatuses": statuses}});
    let mut observed = ObservedWorkload::default();
    observed.apply_pod(&serde_json::from_value(pod).unwrap(), Instant::now());
    observed
}

fn after(observed: &ObservedWorkload, seconds: u64) -> Step {
    next(observed, Duration::from_secs(seconds), BOUNDS)
}

fn ended(message: &str) -> Value {
    json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": message}})
}

fn kind(step: &Step) -> Option<FailureKind> {
    match step {
        Step::Failed(failure) => Some(failure.kind),
        _ => None,
    }
}

#[test]
fn a_task_waits_runs_and_ends() {
    assert_eq!(after(&ObservedWorkload::default(), 1), Step::Wait);
    assert_eq!(
        after(&observed(json!({"waiting": {"reason": "ContainerCreating"}}), None), 1),
        Step::Wait
    );
    assert_eq!(after(&observed(json!({"running": {}}), None), 50), Step::Follow);
    assert!(matches!(after(&observed(ended("report"), None), 1000), Step::Ended(ended) if ended.message == "report"));
}

#[test]
fn every_wait_has_a_time_limit() {
    assert_eq!(
        kind(&after(&ObservedWorkload::default(), 10)),
        Some(FailureKind::Cluster)
    );
    let waiting = observed(json!({"waiting": {"reason": "ContainerCreating"}}), None);
    assert_eq!(kind(&after(&waiting, 10)), Some(FailureKind::Deadline));
    let running = observed(json!({"running": {}}), None);
    assert_eq!(kind(&after(&running, 100)), Some(FailureKind::Deadline));
    assert_eq!(BOUNDS.next(Duration::from_secs(4)), Duration::from_secs(6));
    assert_eq!(BOUNDS.next(Duration::from_secs(40)), Duration::from_secs(60));
}

#[test]
fn a_node_that_was_restarted_gets_the_time_that_its_kubelet_pauses_for() {
    let said = "MountVolume.SetUp failed for volume \"request\" : object \"argo\"/\"task-a\" not registered";
    let bounds = Bounds {
        whole: Duration::from_secs(500),
        ..BOUNDS
    };
    let warned = |state: Value, message: &str| {
        let mut observed = observed(state, None);
        let event = json!({"reason": "FailedMount", "message": message, "metadata": {}, "involvedObject": {}});
        observed.apply_event(&serde_json::from_value(event).unwrap());
        observed
    };
    let waiting = || json!({"waiting": {"reason": "ContainerCreating"}});
    let restarted = warned(waiting(), said);
    let longer = bounds.after_restart(&restarted);
    assert_eq!(longer.start, Duration::from_secs(160));
    assert_eq!(next(&restarted, Duration::from_secs(159), longer), Step::Wait);
    // The volumes are intact, so the failure is an eviction.
    let failed = next(&restarted, Duration::from_secs(160), longer);
    assert_eq!(kind(&failed), Some(FailureKind::Evicted));
    let unread = "MountVolume.SetUp failed for volume \"request\" : failed to sync secret cache: timed out";
    assert_eq!(bounds.after_restart(&warned(waiting(), unread)), longer);
    for other in [
        warned(waiting(), "path \"/x\" does not exist"),
        warned(json!({"running": {}}), said),
    ] {
        assert_eq!(bounds.after_restart(&other), bounds, "{other:?}");
    }
}

#[test]
fn a_deleted_pod_may_report_within_its_grace_period() {
    let metadata = json!({"name": "task-a-x7k2q", "deletionTimestamp": "2026-11-22T10:00:00Z"});
    let mut leaving = observed_with(json!({"running": {}}), None, metadata.clone());
    assert_eq!(after(&leaving, 20), Step::Wait);
    leaving.pod_deleted("task-a-x7k2q");
    assert_eq!(kind(&after(&leaving, 20)), Some(FailureKind::Evicted));
    let cancelled = json!({
        "report": "finished", "end": "cancelled",
        "cache": {"python": {"status": "hit"}, "system": {"status": "not_asked"}},
        "timeline": {"total_us": 1, "spans": []}, "stdout": {"written_bytes": 3, "passed_bytes": 3},
        "stderr": {"written_bytes": 0, "passed_bytes": 0}, "resolved": {},
    });
    let reported = observed_with(ended(&cancelled.to_string()), None, metadata);
    let Step::Ended(end) = after(&reported, 20) else {
        panic!("{reported:?}");
    };
    assert_eq!(
        report(&end, &reported, Intent::Run).unwrap_err().kind,
        FailureKind::Evicted
    );
    assert!(report(&end, &reported, Intent::Cancel).is_ok());
}

#[test]
fn under_argo_sigterm_reaches_the_program_itself() {
    let report_of = |signal: i32| {
        let nothing = json!({"written_bytes": 0, "passed_bytes": 0});
        json!({
            "report": "finished", "end": "signaled", "signal": signal, "timeline": {"total_us": 1, "spans": []}, "stdout": nothing, "stderr": nothing,
            "cache": {"python": {"status": "hit"}, "system": {"status": "not_asked"}}, "resolved": {},
        })
        .to_string()
    };
    let ended_by = |signal: i32, kind: WorkloadKind, intent: Intent| {
        let mut observed = observed(ended(&report_of(signal)), None);
        observed.kind = kind;
        let Step::Ended(end) = after(&observed, 20) else {
            panic!("{observed:?}");
        };
        match report(&end, &observed, intent) {
            Ok(RunReport::Finished { end, .. }) => end,
            other => panic!("{other:?}"),
        }
    };
    let by = |signal| End::Signaled { signal };
    assert_eq!(ended_by(15, WorkloadKind::Workflow, Intent::Cancel), End::Cancelled);
    assert_eq!(ended_by(15, WorkloadKind::Workflow, Intent::Run), by(15));
    assert_eq!(ended_by(11, WorkloadKind::Workflow, Intent::Cancel), by(11));
    assert_eq!(ended_by(15, WorkloadKind::Job, Intent::Cancel), by(15));
}

#[test]
fn a_task_that_its_restarting_node_terminated_is_evicted() {
    let reported = |end: Value, code: i32, reason: &str| {
        let nothing = json!({"written_bytes": 0, "passed_bytes": 0});
        let mut report = json!({
            "report": "finished", "timeline": {"total_us": 1, "spans": []}, "stdout": nothing, "stderr": nothing,
            "cache": {"python": {"status": "hit"}, "system": {"status": "not_asked"}}, "resolved": {},
        });
        report.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
        let state = json!({"exitCode": code, "reason": reason, "message": report.to_string()});
        let observed = observed(json!({"terminated": state}), None);
        let Step::Ended(end) = after(&observed, 20) else {
            panic!("{observed:?}");
        };
        move |intent| match super::report(&end, &observed, intent) {
            Ok(RunReport::Finished { end, .. }) => Ok(end),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.kind),
        }
    };
    // As recorded: systemd signals every process of the container, so the runner or the program may receive it first.
    for end in [json!({"end": "cancelled"}), json!({"end": "signaled", "signal": 15})] {
        let reported = reported(end, 255, "Unknown");
        assert_eq!(reported(Intent::Run), Err(FailureKind::Evicted));
        assert_eq!(reported(Intent::Cancel), Ok(End::Cancelled));
    }
    // What ended by itself before the node stopped has ended so.
    let exited = reported(json!({"end": "exited", "code": 3}), 255, "Unknown");
    assert_eq!(exited(Intent::Run), Ok(End::Exited { code: 3 }));
    // No one has cancelled the task, so the cluster sent the signal, whether it shows that or not.
    let unexplained = reported(json!({"end": "cancelled"}), 0, "Completed");
    assert_eq!(unexplained(Intent::Run), Err(FailureKind::Evicted));
}

#[test]
fn the_pod_of_a_job_that_ended_unseen_is_fetched_once() {
    let mut observed = ObservedWorkload::default();
    let job = json!({"metadata": {}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}});
    observed.apply_workload(&serde_json::from_value::<Job>(job).unwrap(), Instant::now());
    assert_eq!(after(&observed, 1), Step::FetchPod);
    observed.pod_fetched = true;
    assert_eq!(kind(&after(&observed, 1)), Some(FailureKind::Evicted));
}

#[test]
fn a_refusal_that_a_workflow_reports_counts_once_the_pod_was_fetched() {
    // Argo's node has the words of its pod as well, which may be there before our watch shows it.
    let status = json!({"phase": "Running", "nodes": {"a": {
        "type": "Pod", "phase": "Pending", "message": "Unschedulable: persistentvolumeclaim \"c\" not found",
    }}});
    let workflow: Workflow = serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": status})).unwrap();
    let mut observed = ObservedWorkload {
        kind: WorkloadKind::Workflow,
        ..ObservedWorkload::default()
    };
    observed.apply_workload(&workflow, Instant::now());
    assert_eq!(after(&observed, 1), Step::FetchPod);
    let mut found = observed.clone();
    let pod = json!({"metadata": {"name": "task-a"}, "spec": {"containers": []}, "status": {"phase": "Pending"}});
    found.apply_pod(&serde_json::from_value(pod).unwrap(), Instant::now());
    assert_eq!(after(&found, 1), Step::Wait);
    observed.pod_fetched = true;
    assert_eq!(kind(&after(&observed, 1)), Some(FailureKind::Refused));
}

#[test]
fn a_preparation_that_died_before_the_handover_ends_the_wait() {
    let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let lost = observed(json!({"running": {}}), Some(killed));
    assert_eq!(kind(&after(&lost, 1)), Some(FailureKind::OutOfMemory));
}

#[test]
fn a_preparation_that_died_while_publishing_leaves_the_task_alone() {
    let killed =
        json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "{\"report\":\"handed_over\"}"}});
    let cut = observed(json!({"running": {}}), Some(killed));
    assert_eq!(after(&cut, 1), Step::Follow);
    let Preparation::Unpublished(failure) = preparation(&cut) else {
        panic!("{cut:?}");
    };
    assert!(failure.message.contains("preparing"), "{failure}");
}

#[test]
fn a_preparation_that_ended_differs_from_none_and_from_a_running_one() {
    assert_eq!(preparation(&observed(ended(""), None)), Preparation::None);
    let going = observed(ended(""), Some(json!({"running": {}})));
    assert_eq!(preparation(&going), Preparation::Going);
    let published = r#"{"report":"published","timeline":{"total_us":5,"spans":[]},"ready_us":3}"#;
    let done = observed(ended(""), Some(ended(published)));
    assert!(matches!(preparation(&done), Preparation::Ended(_)));
}

#[test]
fn a_report_in_the_log_counts_if_the_containers_state_cannot_add_to_it() {
    let report = |end: &str| {
        let output = r#"{"written_bytes":0,"passed_bytes":0}"#;
        let text = format!(
            r#"{{"report":"finished",{end},"cache":{{"python":{{"status":"not_asked"}},"system":{{"status":"not_asked"}}}},
               "timeline":{{"total_us":5,"spans":[]}},"stdout":{output},"stderr":{output},"resolved":{{}}}}"#
        );
        let ended = ContainerEnd {
            message: text,
            ..ContainerEnd::default()
        };
        serde_json::from_str::<RunReport>(&ended.message).unwrap();
        tells_all(&ended)
    };
    assert!(report(r#""end":"exited","code":0"#));
    // The cluster may know why.
    assert!(!report(r#""end":"exited","code":1"#));
    assert!(!report(r#""end":"cancelled""#));
    assert!(!tells_all(&ContainerEnd::default()));
}
