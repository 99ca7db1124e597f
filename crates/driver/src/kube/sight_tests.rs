//! What the watches may show in what order, and what is made of it.

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
fn the_end_is_learned_from_the_container_before_the_phase_changes_and_is_not_forgotten() {
    let mut sight = Sight::default();
    let first = Instant::now();
    sight.see_pod(&ended("report"), first);
    sight.see_pod(&pod(serde_json::json!({"phase": "Running"})), first);
    sight.see_pod(&ended("report"), Instant::now());
    let task = &sight.pod.as_ref().unwrap().task;
    assert_eq!(task.ended().unwrap().message, "report");
    assert_eq!(sight.seen.task_ended, Some(first));
    assert!(sight.is_over());
}

#[test]
fn a_pod_is_not_over_while_the_preparing_container_publishes() {
    let mut sight = Sight::default();
    let mut both = ended("report");
    let statuses = both.status.as_mut().unwrap().container_statuses.as_mut().unwrap();
    let mut prepare = statuses[0].clone();
    prepare.name = "prepare".to_owned();
    prepare.state = serde_json::from_value(serde_json::json!({"running": {}})).unwrap();
    statuses.push(prepare);
    sight.see_pod(&both, Instant::now());
    assert!(!sight.is_over());
}

#[test]
fn somebody_elses_pod_is_not_missed_and_warnings_are_bounded() {
    let mut sight = Sight::default();
    sight.see_pod(&pod(serde_json::json!({})), Instant::now());
    sight.lose_pod("another");
    assert!(!sight.pod_gone);
    sight.lose_pod("task-a-x7k2q");
    assert!(sight.pod_gone);
    for count in 0..20 {
        let event = serde_json::json!({"metadata": {}, "involvedObject": {}, "reason": format!("r{count}")});
        sight.see_event(&serde_json::from_value(event).unwrap());
    }
    assert_eq!(sight.warnings.len(), MAX_WARNINGS);
    assert_eq!(sight.warning("r19"), Some(""));
}

#[test]
fn a_job_that_is_deleted_stays_gone() {
    let job: Job = serde_json::from_value(serde_json::json!({"metadata": {}})).unwrap();
    let mut sight = Sight::default();
    sight.see_workload(&job, Instant::now());
    assert_eq!(sight.workload, WorkloadState::Active);
    sight.lose_workload();
    sight.see_workload(&job, Instant::now());
    assert_eq!(sight.workload, WorkloadState::Gone);
}
