//! Events in the orders in which watches may show them, and the state that results.

use k8s_openapi::api::batch::v1::Job;

use super::*;

fn pod(status: serde_json::Value) -> Pod {
    let pod = serde_json::json!({
        "metadata": {"name": "task-a-x7k2q"}, "spec": {"containers": [], "nodeName": "n"}, "status": status,
    });
    serde_json::from_value(pod).unwrap()
}

fn ended(message: &str) -> Pod {
    pod(serde_json::json!({"phase": "Running", "containerStatuses": [{
        "name": "task", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0, "reason": "Completed", "message": message}},
    }]}))
}

#[test]
fn the_end_is_read_from_the_container_before_the_phase_changes_and_is_kept() {
    let mut observed = ObservedWorkload::default();
    let first = Instant::now();
    observed.apply_pod(&ended("report"), first);
    observed.apply_pod(&pod(serde_json::json!({"phase": "Running"})), first);
    observed.apply_pod(&ended("report"), Instant::now());
    let task = &observed.pod.as_ref().unwrap().task;
    assert_eq!(task.ended().unwrap().message, "report");
    assert_eq!(observed.first_seen.task_ended, Some(first));
    assert!(observed.is_over());
}

#[test]
fn a_pod_is_not_over_while_the_preparing_container_publishes() {
    let mut observed = ObservedWorkload::default();
    let mut both = ended("report");
    let statuses = both.status.as_mut().unwrap().container_statuses.as_mut().unwrap();
    let mut prepare = statuses[0].clone();
    prepare.name = "prepare".to_owned();
    prepare.state = serde_json::from_value(serde_json::json!({"running": {}})).unwrap();
    statuses.push(prepare);
    observed.apply_pod(&both, Instant::now());
    assert!(!observed.is_over());
}

#[test]
fn the_deletion_of_another_pod_is_ignored_and_warnings_are_bounded() {
    let mut observed = ObservedWorkload::default();
    observed.apply_pod(&pod(serde_json::json!({})), Instant::now());
    observed.pod_deleted("another");
    assert!(!observed.pod_gone);
    observed.pod_deleted("task-a-x7k2q");
    assert!(observed.pod_gone);
    for count in 0..20 {
        let event = serde_json::json!({"metadata": {}, "involvedObject": {}, "reason": format!("r{count}")});
        observed.apply_event(&serde_json::from_value(event).unwrap());
    }
    assert_eq!(observed.warnings.len(), MAX_WARNINGS);
    assert_eq!(observed.warning("r19"), Some(""));
}

#[test]
fn a_job_that_is_deleted_stays_gone() {
    let job: Job = serde_json::from_value(serde_json::json!({"metadata": {}})).unwrap();
    let mut observed = ObservedWorkload::default();
    observed.apply_workload(&job, Instant::now());
    assert_eq!(observed.workload, WorkloadState::Active);
    observed.workload_deleted();
    observed.apply_workload(&job, Instant::now());
    assert_eq!(observed.workload, WorkloadState::Gone);
}
